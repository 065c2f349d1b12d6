// What a backend allocates, from the functions that its parts allocate by.
#include <algorithm>

#include "kernels/vulkan.h"
#include "kernels/vulkan/batch_rows.h"
#include "kernels/vulkan/cache.h"
#include "kernels/vulkan/codebooks.h"
#include "kernels/vulkan/device.h"
#include "kernels/vulkan/weights.h"
#include "kernels/vulkan/workspace.h"

namespace quern::kernels {

Result<VulkanBytes> vulkan_bytes(const Program& program, const MaxBatch& max, uint64_t at_once) {
  const vulkan::Workspace::Bytes workspace = vulkan::Workspace::bytes(program, max, at_once);
  return VulkanBytes{
      .weights = vulkan::Weights::bytes(program, at_once),
      .workspace = workspace.device + vulkan::Buffer::allocated(vulkan::codebook_bytes().size()),
      .uploads = workspace.upload + vulkan::BatchRows::bytes(program, max, at_once),
      .readbacks = workspace.readback,
      .staging = vulkan::Buffer::allocated(vulkan::Device::kStagingBytes),
      .largest = std::max(vulkan::Weights::largest(program), workspace.largest)};
}

Result<VulkanCacheBytes> vulkan_cache_bytes(const Program& program, CacheType type,
                                            const BlockCounts& blocks, uint64_t at_once) {
  const auto [all, largest] = vulkan::VulkanCache::bytes(program, type, blocks, at_once);
  return VulkanCacheBytes{all, largest};
}

Result<VulkanCacheBytes> vulkan_state_bytes(const Program& program, uint64_t slots,
                                            uint64_t at_once) {
  const auto [all, largest] = vulkan::VulkanCache::state_bytes(program, slots, at_once);
  return VulkanCacheBytes{all, largest};
}

Result<uint64_t> vulkan_cache_block_bytes(const Program& program, CacheType type) {
  return vulkan::VulkanCache::block_bytes(program, type);
}

Result<VulkanUsage> vulkan_usage(size_t device) {
  QUERN_TRY(const auto instance, vulkan::Instance::shared());
  if (device >= instance->device_count()) {
    return fail(ErrorKind::kUnsupported, "no-vulkan", "there is no such Vulkan device");
  }
  const vulkan::MemoryCount& count = instance->count(device);
  return VulkanUsage{count.now(), count.peak(), count.read()};
}

}  // namespace quern::kernels
