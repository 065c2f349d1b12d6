// The two inner loops of attention, over one tile of 16 positions. Reads keys and values as the
// cache stores them. One chain per output in a fixed order, so results do not depend on how many
// queries are given together or on the instruction set (any with FMA).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/kv_cache.h"

namespace quern::kernels::cpu {

// out[i * out_stride + j] = q_i · k_j for queries i < count and the tile's 16 positions j.
// f32, f16: a chain of fma over the key's values in ascending order. q8_0: one such chain per 32
// codes, then chain = fma(group, scale, chain).
void tile_scores(const TileLayout& layout, const std::byte* tile, const float* const* queries,
                 size_t count, float* out, size_t out_stride);

// out_i[d] = fma(weight_ij, v_j[d], out_i[d]) for j = 0 … positions[i] - 1 ascending, d <
// value_stride (q8_0: the factor is weight_ij * scale). weights[i * weight_stride + j].
void tile_values(const TileLayout& layout, const std::byte* tile, const float* weights,
                 size_t weight_stride, const uint32_t* positions, size_t count, float* const* out);

}  // namespace quern::kernels::cpu
