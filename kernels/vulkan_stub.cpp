// Stands in for kernels/vulkan/ in a build without Vulkan.
#include "kernels/vulkan.h"

namespace quern::kernels {
namespace {

tl::unexpected<Error> not_built() {
  return fail(ErrorKind::kUnsupported, "no-vulkan", "this build of Quern has no Vulkan");
}

}  // namespace

Result<std::vector<VulkanDevice>> list_vulkan_devices() { return not_built(); }

Result<size_t> find_vulkan_device(const std::vector<VulkanDevice>&, std::string_view) {
  return not_built();
}

Result<VulkanBytes> vulkan_bytes(const Program&, const MaxBatch&, uint64_t) { return not_built(); }

Result<VulkanCacheBytes> vulkan_cache_bytes(const Program&, CacheType, const BlockCounts&,
                                            uint64_t) {
  return not_built();
}
Result<VulkanCacheBytes> vulkan_state_bytes(const Program&, uint64_t, uint64_t) {
  return not_built();
}

Result<uint64_t> vulkan_cache_block_bytes(const Program&, CacheType) { return not_built(); }

Result<VulkanUsage> vulkan_usage(size_t) { return not_built(); }

Result<std::unique_ptr<Backend>> make_vulkan_backend(size_t, const VulkanOptions&) {
  return not_built();
}

}  // namespace quern::kernels
