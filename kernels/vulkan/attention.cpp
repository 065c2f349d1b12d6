#include "kernels/vulkan/attention.h"

#include <algorithm>
#include <bit>

#include "shaders/shared.h"

namespace quern::kernels::vulkan {
namespace {

constexpr uint32_t kMaxQueries = 16;       // of a workgroup: more take too many registers
constexpr uint32_t kFewRows = 8;           // of a step whose positions are worth splitting
constexpr uint32_t kSplitPositions = 256;  // at least, per split
constexpr uint32_t kMaxSplits = 32;
constexpr uint32_t kSharedWords = 32768 / 4;  // what every device has for a workgroup

uint32_t divide_up(uint32_t value, uint32_t by) { return (value + by - 1) / by; }

// How many queries' data fit into a workgroup's shared memory.
uint32_t queries_that_fit(const Heads& heads) {
  const uint32_t per_query = heads.key_width + 68;
  return std::clamp((kSharedWords - shaders::kAttentionWidth) / per_query, 1u, kMaxQueries);
}

}  // namespace

AttentionTiling tile_attention(const Heads& heads, uint32_t rows, uint32_t positions) {
  const uint32_t most = queries_that_fit(heads), group = heads.queries / heads.keys;
  AttentionTiling tiling = {};
  tiling.heads = std::min(group, most);
  const bool few = rows <= kFewRows;
  tiling.rows = few ? 1 : std::max(most / tiling.heads, 1u);
  tiling.splits = few ? std::clamp(positions / kSplitPositions, 1u, kMaxSplits) : 1;
  tiling.groups = {.x = heads.keys * divide_up(group, tiling.heads),
                   .y = tiling.splits,
                   .z = divide_up(rows, tiling.rows)};
  if (tiling.splits > 1) {
    const uint64_t workgroups = uint64_t{tiling.groups.x} * tiling.groups.z;
    const uint64_t partial = uint64_t{tiling.rows} * tiling.heads * (2 + heads.value_width);
    tiling.partial_bytes = workgroups * tiling.splits * partial * sizeof(float);
    tiling.counter_bytes = workgroups * sizeof(uint32_t);
  }
  return tiling;
}

uint64_t most_partial_bytes(const Heads& heads, const MaxBatch& max) {
  const uint32_t positions = std::bit_ceil(std::max(max.positions, kBlockPositions));
  return tile_attention(heads, std::min(max.rows, kFewRows), positions).partial_bytes;
}

uint64_t most_counter_bytes(const Heads& heads, const MaxBatch& max) {
  const uint32_t positions = std::bit_ceil(std::max(max.positions, kBlockPositions));
  return tile_attention(heads, std::min(max.rows, kFewRows), positions).counter_bytes;
}

}  // namespace quern::kernels::vulkan
