// The heap of a device besides the CPU: what its backend will allocate.
#pragma once

#include "engine/memory_plan.h"
#include "kernels/split.h"

namespace quern::engine {

// Of memory from malloc: what it rounds up by. Vulkan devices need none (kernels/vulkan/buffer.h).
inline constexpr uint64_t kSlackDivisor = 128;  // 0.8 %

// Far above any machine, far below where sums of a few thousand terms would wrap.
inline constexpr uint64_t kMostBytes = uint64_t{1} << 50;

// What `device` allocates for its part of a model; options are resolved. Error: "no-vulkan".
Result<HeapPlan> plan_device(const DeviceProfile& device, const kernels::Program& part,
                             const EngineOptions& options);

// Bytes of the cache of one layer there, for `blocks` blocks (those of its group). `device` "cpu":
// the CPU. Error: "no-vulkan".
Result<uint64_t> layer_cache_bytes(std::string_view device, const kernels::Heads& heads,
                                   kernels::CacheType type, uint64_t blocks);

}  // namespace quern::engine
