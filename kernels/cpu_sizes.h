// What a CPU backend will allocate, without making one: for memory plans.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/backend.h"

namespace quern::kernels {

// The same figures as Backend's, for a CPU backend of `threads` threads.
uint64_t cpu_workspace_bytes(const Program& program, const MaxBatch& max, size_t threads);
uint64_t cpu_cache_block_bytes(const Program& program, CacheType type);
// Of one weight in packed form (WeightHome::kPacked); 0 for one that is always read in place:
// vectors, and embeddings that are only gathered by row.
uint64_t cpu_packed_bytes(const Program& program, WeightId weight);

}  // namespace quern::kernels
