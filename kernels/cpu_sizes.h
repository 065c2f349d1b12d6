// What a CPU backend will allocate, without making one: for memory plans.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/backend.h"

namespace quern::kernels {

// The same figures as Backend's, for a CPU backend of `threads` threads.
uint64_t cpu_workspace_bytes(const Program& program, const MaxBatch& max, size_t threads);
uint64_t cpu_cache_block_bytes(const Program& program, CacheType type);

}  // namespace quern::kernels
