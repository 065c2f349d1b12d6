// The inner loops of attention. Keys and values are read as the cache stores them. One chain per
// output in a fixed order, so results do not depend on how many queries are given together or on
// the instruction set (any with FMA).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/kv_cache.h"

namespace quern::kernels::cpu {

// `ahead` is what will be read next: as many bytes as the call reads from there are fetched into
// the cache meanwhile.

// out[i * out_stride + j] = q_i · k_j for queries i < count and the tile's 64 positions j.
// f32, f16: a chain of fma over the key's values in ascending order. q8_0: one such chain per 32
// codes, then chain = fma(group, scale, chain).
void tile_scores(const TileLayout& layout, const std::byte* keys, const float* const* queries,
                 size_t count, float* out, size_t out_stride, const std::byte* ahead);

// Positions [begin, end) of a tile or granule; none if begin >= end.
struct Span {
  uint32_t begin = 0, end = 0;
};

// out_i[d] = fma(weight_ij, v_j[d], out_i[d]) for the positions j of seen[i] ascending, d <
// value_stride (q8_0: the factor is weight_ij * scale). weights[i * weight_stride + j].
void tile_values(const TileLayout& layout, const std::byte* values, const float* weights,
                 size_t weight_stride, const Span* seen, size_t count, float* const* out,
                 const std::byte* ahead);

// The same where values are shared with keys, for consecutive tiles at once: seen[i] and weights
// count from the first position of tiles[0]. out_i[d] = Σ weight_ij * k_j[key_width - value_width +
// d] for d < value_width: 16 sums by position mod 16, each a chain over positions ascending, which
// are then added as those of `finish` are.
void shared_values(const TileLayout& layout, const std::byte* const* tiles, const float* weights,
                   size_t weight_stride, const Span* seen, size_t count, float* const* out);

// A softmax before its division: f32, in this order.
struct Partial {
  float* data;

  float& maximum() const { return data[0]; }   // of scale * score
  float* sums() const { return data + 16; }    // Σ exp by position mod 16
  float* values() const { return data + 32; }  // Σ exp * v, [value_stride]
  static size_t floats(const TileLayout& layout) { return 32 + layout.value_stride; }
};

// w[j] = exp(fma(w[j], scale, -maximum)) for the positions j of `seen`, maximum = scale * max w,
// sums by position mod 16 ascending; sets all of `out` but its values. scale > 0. Overwrites w in
// whole vectors of 16.
void softmax(float* w, Span seen, float scale, const Partial& out);

// out[d] = values[d] / Σ exp, d < width; with a sink, one more score, exp(sink) joins the sum.
void finish(const Partial& partial, const float* sink, uint32_t width, float* out);

// into = into and next, softmaxes over different positions (Milakov and Gimelshein 2018).
void merge(const Partial& into, const Partial& next, const TileLayout& layout);

}  // namespace quern::kernels::cpu
