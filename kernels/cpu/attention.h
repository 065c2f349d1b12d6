// Sizes that attention on the CPU is built on, and the memory it needs.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/kv_cache.h"

namespace quern::kernels::cpu {

inline constexpr uint32_t kGranulePositions = 512;  // positions with one softmax of their own
inline constexpr size_t kMaxQueries = 8;            // queries that read a tile together
inline constexpr size_t kItemQueries = 64;          // queries that read a granule one after another
inline constexpr uint32_t kSplitRows = 4;           // batches up to this many rows split by granule

// Per thread, and for the results of granules of small batches; both in bytes.
size_t attention_scratch_bytes(const Heads& heads, const TileLayout& layout);
size_t attention_partial_bytes(const Heads& heads, const TileLayout& layout, const MaxBatch& max);

}  // namespace quern::kernels::cpu
