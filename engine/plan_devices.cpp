#include "engine/plan_devices.h"

#include <algorithm>

#include "kernels/cpu_sizes.h"
#include "kernels/vulkan.h"

namespace quern::engine {
namespace {

// What drivers allocate beside what they are asked for: at least a page for each of a few buffers.
constexpr uint64_t kLeastSlack = 64 << 10;

uint64_t times(uint64_t bytes, uint64_t count) {
  return bytes > 0 && count > kMostBytes / bytes ? kMostBytes : bytes * count;
}

// Everything that the reference keeps is in the host's memory, weights are read where they are.
void add_reference(HeapPlan& heap, const kernels::Program& part, const EngineOptions& options,
                   uint64_t blocks) {
  const auto backend = kernels::make_reference_backend();
  const uint64_t block = backend->cache_block_bytes(part, options.cache);
  const uint64_t workspace = backend->workspace_bytes(part, max_batch(options));
  heap.terms = {{"key/value cache", Backing::kAnonymous, times(block, blocks)},
                {"spare cache block", Backing::kAnonymous, block},
                {"recurrent states", Backing::kAnonymous,
                 times(part.state_bytes(), state_slots(options, part))},
                {"workspace", Backing::kAnonymous, workspace},
                {"intermediate rows", Backing::kAnonymous, workspace, true}};
}

Status add_vulkan(HeapPlan& heap, const kernels::Program& part, const EngineOptions& options,
                  uint64_t blocks) {
  QUERN_TRY(const kernels::VulkanBytes all, kernels::vulkan_bytes(part, max_batch(options)));
  QUERN_TRY(const uint64_t cache, kernels::vulkan_cache_bytes(part, options.cache, blocks));
  QUERN_TRY(const uint64_t more, kernels::vulkan_cache_bytes(part, options.cache, blocks + 1));
  heap.terms = {{"weights", Backing::kDevice, all.weights},
                {"key/value cache", Backing::kDevice, cache},
                {"spare cache block", Backing::kDevice, more - cache},
                {"workspace", Backing::kDevice, all.workspace},
                {"step uploads", Backing::kDevice, all.uploads},
                {"step readbacks", Backing::kDevice, all.readbacks}};
  return {};
}

}  // namespace

Result<HeapPlan> plan_device(const DeviceProfile& device, const kernels::Program& part,
                             const EngineOptions& options) {
  HeapPlan heap{device.name, {}, device.in_host};
  if (part.parts.empty()) return heap;
  // More blocks than a cache can number are refused before anything is allocated.
  const uint64_t blocks = std::min<uint64_t>(sequence_blocks(options), UINT32_MAX);
  if (device.name == kReferenceDevice) {
    add_reference(heap, part, options, blocks);
  } else {
    QUERN_CHECK(add_vulkan(heap, part, options, blocks));
  }
  const Backing backing = heap.terms[0].backing;
  heap.terms.push_back({"slack", backing, heap.peak() / kSlackDivisor + kLeastSlack});
  return heap;
}

Result<uint64_t> layer_cache_bytes(std::string_view device, const kernels::Heads& heads,
                                   kernels::CacheType type, uint64_t blocks) {
  kernels::Program alone;
  alone.layers = {heads};
  if (device == "cpu") return times(kernels::cpu_cache_block_bytes(alone, type), blocks);
  if (device == kReferenceDevice) {
    return times(kernels::make_reference_backend()->cache_block_bytes(alone, type), blocks);
  }
  return kernels::vulkan_cache_bytes(alone, type, std::min<uint64_t>(blocks, UINT32_MAX));
}

}  // namespace quern::engine
