#include "engine/plan_devices.h"

#include <algorithm>

#include "kernels/cpu_sizes.h"
#include "kernels/vulkan.h"

namespace quern::engine {
namespace {

uint64_t times(uint64_t bytes, uint64_t count) {
  return bytes > 0 && count > kMostBytes / bytes ? kMostBytes : bytes * count;
}

// Everything that the reference keeps is in the host's memory, weights are read where they are.
Status add_reference(HeapPlan& heap, const kernels::Program& part, const EngineOptions& options) {
  const auto backend = kernels::make_reference_backend();
  uint64_t cache = 0;
  for (const kernels::Heads& heads : part.layers) {
    const uint64_t blocks = sequence_blocks(options, part.windows[heads.group]);
    QUERN_TRY(const uint64_t layer,
              layer_cache_bytes(kReferenceDevice, heads, options.cache, blocks));
    cache = std::min(kMostBytes, cache + layer);
  }
  const uint64_t workspace = backend->workspace_bytes(part, max_batch(options));
  heap.terms = {
      {"key/value cache", Backing::kAnonymous, cache},
      {"spare cache block", Backing::kAnonymous, backend->cache_block_bytes(part, options.cache)},
      {"recurrent states", Backing::kAnonymous,
       times(part.state_bytes(), state_slots(options, part))},
      {"workspace", Backing::kAnonymous, workspace},
      {"intermediate rows", Backing::kAnonymous, workspace, true}};
  heap.terms.push_back({"slack", Backing::kAnonymous, heap.peak() / kSlackDivisor});
  return {};
}

// The blocks of every group of layers, and `spare` more. More than a cache can number are refused
// before anything is allocated.
kernels::BlockCounts block_counts(const kernels::Program& part, const EngineOptions& options,
                                  uint32_t spare) {
  std::vector<uint32_t> counts;
  for (const uint32_t window : part.windows) {
    const uint64_t blocks = sequence_blocks(options, window) + spare;
    counts.push_back(static_cast<uint32_t>(std::min<uint64_t>(blocks, UINT32_MAX)));
  }
  return kernels::BlockCounts(std::move(counts));
}

Status add_vulkan(HeapPlan& heap, const kernels::Program& part, const EngineOptions& options) {
  const uint64_t at_once = heap.max_allocation > 0 ? heap.max_allocation : UINT64_MAX;
  const auto cache_bytes = [&](uint32_t spare) {
    const kernels::BlockCounts blocks = block_counts(part, options, spare);
    return kernels::vulkan_cache_bytes(part, options.cache, blocks, at_once);
  };
  QUERN_TRY(const kernels::VulkanBytes all,
            kernels::vulkan_bytes(part, max_batch(options), at_once));
  QUERN_TRY(const auto cache, cache_bytes(0));
  QUERN_TRY(const auto more, cache_bytes(1));
  QUERN_TRY(const auto states,
            kernels::vulkan_state_bytes(part, state_slots(options, part), at_once));
  heap.terms = {{"weights", Backing::kDevice, all.weights},
                {"key/value cache", Backing::kDevice, cache.all},
                {"spare cache block", Backing::kDevice, more.all - cache.all},
                {"recurrent states", Backing::kDevice, states.all},
                {"workspace", Backing::kDevice, all.workspace},
                {"step uploads", Backing::kDevice, all.uploads},
                {"step readbacks", Backing::kDevice, all.readbacks}};
  // The CPU writes to memory that is the host's anyway.
  if (!heap.in_host) heap.terms.push_back({"staging", Backing::kDevice, all.staging});
  heap.largest = std::max({all.largest, more.largest, states.largest});
  return {};
}

}  // namespace

Result<HeapPlan> plan_device(const DeviceProfile& device, const kernels::Program& part,
                             const EngineOptions& options) {
  HeapPlan heap{.name = device.name,
                .terms = {},
                .in_host = device.in_host,
                .max_allocation = device.max_allocation};
  if (part.parts.empty()) return heap;
  if (device.name == kReferenceDevice) {
    QUERN_CHECK(add_reference(heap, part, options));
  } else {
    QUERN_CHECK(add_vulkan(heap, part, options));
  }
  return heap;
}

Result<uint64_t> layer_cache_bytes(std::string_view device, const kernels::Heads& heads,
                                   kernels::CacheType type, uint64_t blocks) {
  kernels::Program alone;
  alone.layers = {heads};
  alone.layers[0].group = 0;
  if (device == "cpu") return times(kernels::cpu_cache_block_bytes(alone, type), blocks);
  if (device == kReferenceDevice) {
    return times(kernels::make_reference_backend()->cache_block_bytes(alone, type), blocks);
  }
  QUERN_TRY(const uint64_t block, kernels::vulkan_cache_block_bytes(alone, type));
  return times(block, blocks);
}

}  // namespace quern::engine
