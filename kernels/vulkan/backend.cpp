#include "kernels/vulkan/backend.h"

#include "kernels/vulkan.h"
#include "kernels/vulkan/executable.h"

namespace quern::kernels {
namespace {

using vulkan::Device;

class VulkanBackend final : public Backend {
 public:
  explicit VulkanBackend(std::shared_ptr<Device> device) : device_(std::move(device)) {}

  std::string_view name() const override { return "vulkan"; }

  std::vector<ProductVariant> variants() const override {
    std::vector<ProductVariant> usable;
    for (const vulkan::Variant& variant : vulkan::variants()) {
      if (variant.runs_on(device_->caps())) usable.push_back({variant.name, variant.bound});
    }
    return usable;
  }
  void use_variants(std::string_view few, std::string_view many) override {
    device_->use_variants(*vulkan::find_variant(few), *vulkan::find_variant(many));
  }

  uint64_t workspace_bytes(const Program& program, const MaxBatch& max) const override {
    const uint64_t at_once = device_->caps().max_allocation;
    const vulkan::Workspace::Bytes bytes = vulkan::Workspace::bytes(program, max, at_once);
    return bytes.device + bytes.upload + bytes.readback +
           vulkan::BatchRows::bytes(program, max, at_once);
  }
  uint64_t cache_block_bytes(const Program& program, CacheType type) const override {
    return vulkan::VulkanCache::block_bytes(program, type);
  }

  Result<std::unique_ptr<Cache>> make_cache(const Program& program, CacheType type,
                                            const BlockCounts& blocks, uint32_t states) override {
    return vulkan::VulkanCache::make(*device_, program, type, blocks, states);
  }
  // Weights are always copied to the device.
  Result<std::unique_ptr<Executable>> compile(const Program& program,
                                              std::span<const gguf::TensorView> weights,
                                              Cache& cache, const MaxBatch& max, WeightHome,
                                              const PackObserver& uploaded) override {
    return vulkan::VulkanExecutable::make(*device_, program, weights,
                                          static_cast<vulkan::VulkanCache&>(cache), max, uploaded);
  }

 private:
  std::shared_ptr<Device> device_;
};

}  // namespace

std::unique_ptr<Backend> vulkan::make_backend(std::shared_ptr<Device> device) {
  return std::make_unique<VulkanBackend>(std::move(device));
}

Result<std::unique_ptr<Backend>> make_vulkan_backend(size_t device, const VulkanOptions& options) {
  QUERN_TRY(auto instance, vulkan::Instance::shared());
  QUERN_TRY(auto opened,
            Device::create(std::move(instance), device, {.cache_folder = options.cache_folder}));
  return vulkan::make_backend(std::move(opened));
}

}  // namespace quern::kernels
