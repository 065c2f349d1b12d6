#include "kernels/cpu/attention_kernels.h"

#include <algorithm>

#include "kernels/cpu/f16.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention_kernels.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::CappedTag<float, kTilePositions>;
constexpr size_t kQueriesAtOnce = 4;  // independent chains that hide the latency of fma

// Vectors of 16 or fewer stored elements, as f32.
template <CacheType type>
HWY_INLINE hn::Vec<Floats> Load(const std::byte* data, size_t index) {
  const Floats d;
  if constexpr (type == CacheType::kF32) {
    return hn::LoadU(d, reinterpret_cast<const float*>(data) + index);
  } else if constexpr (type == CacheType::kF16) {
    const hn::Rebind<hwy::float16_t, Floats> d16;
    return hn::PromoteTo(d, hn::LoadU(d16, reinterpret_cast<const hwy::float16_t*>(data) + index));
  } else {
    const hn::Rebind<int8_t, Floats> d8;
    const hn::Rebind<int32_t, Floats> d32;
    return hn::ConvertTo(
        d, hn::PromoteTo(d32, hn::LoadU(d8, reinterpret_cast<const int8_t*>(data) + index)));
  }
}

// Scores of `n` queries (n <= kQueriesAtOnce) for the positions [lane, lane + Lanes).
template <CacheType type, size_t n>
HWY_INLINE void ScoreLanes(const TileLayout& layout, const std::byte* tile,
                           const float* const* queries, size_t lane, float* out, size_t stride) {
  const Floats d;
  hn::Vec<Floats> sum[n];
  for (size_t i = 0; i < n; ++i) sum[i] = hn::Zero(d);
  const auto add_keys = [&](uint32_t begin, uint32_t end, hn::Vec<Floats>* chain) HWY_ATTR {
    for (uint32_t k = begin; k < end; ++k) {
      const auto key = Load<type>(tile, k * kTilePositions + lane);
      for (size_t i = 0; i < n; ++i)
        chain[i] = hn::MulAdd(hn::Set(d, queries[i][k]), key, chain[i]);
    }
  };
  if constexpr (type == CacheType::kQ8_0) {
    for (uint32_t k = 0; k < layout.key_width; k += kScaleGroup) {
      hn::Vec<Floats> group[n];
      for (size_t i = 0; i < n; ++i) group[i] = hn::Zero(d);
      add_keys(k, std::min(layout.key_width, k + kScaleGroup), group);
      const auto scale =
          Load<CacheType::kF16>(tile + layout.key_scales, k / kScaleGroup * kTilePositions + lane);
      for (size_t i = 0; i < n; ++i) sum[i] = hn::MulAdd(group[i], scale, sum[i]);
    }
  } else {
    add_keys(0, layout.key_width, sum);
  }
  for (size_t i = 0; i < n; ++i) hn::StoreU(sum[i], d, out + i * stride + lane);
}

template <CacheType type>
void Scores(const TileLayout& layout, const std::byte* tile, const float* const* queries,
            size_t count, float* out, size_t stride) {
  for (size_t lane = 0; lane < kTilePositions; lane += hn::Lanes(Floats())) {
    size_t i = 0;
    for (; i + kQueriesAtOnce <= count; i += kQueriesAtOnce) {
      ScoreLanes<type, kQueriesAtOnce>(layout, tile, queries + i, lane, out + i * stride, stride);
    }
    for (; i < count; ++i) {
      ScoreLanes<type, 1>(layout, tile, queries + i, lane, out + i * stride, stride);
    }
  }
}

// Adds positions [begin, end) to the values [v, v + Lanes) of `n` queries' outputs.
template <CacheType type, size_t n>
HWY_INLINE void AddLanes(const TileLayout& layout, const std::byte* tile, const float* weights,
                         size_t weight_stride, uint32_t begin, uint32_t end, size_t v,
                         float* const* out) {
  const Floats d;
  const std::byte* values = tile + layout.values;
  const auto* scales = reinterpret_cast<const uint16_t*>(tile + layout.value_scales);
  hn::Vec<Floats> sum[n];
  for (size_t i = 0; i < n; ++i) sum[i] = hn::LoadU(d, out[i] + v);
  for (uint32_t j = begin; j < end; ++j) {
    const size_t index = j * layout.value_stride + v;
    const auto value = Load<type>(values, index);
    for (size_t i = 0; i < n; ++i) {
      float weight = weights[i * weight_stride + j];
      if constexpr (type == CacheType::kQ8_0) weight *= f16_to_f32(scales[index / kScaleGroup]);
      sum[i] = hn::MulAdd(hn::Set(d, weight), value, sum[i]);
    }
  }
  for (size_t i = 0; i < n; ++i) hn::StoreU(sum[i], d, out[i] + v);
}

template <CacheType type>
void Values(const TileLayout& layout, const std::byte* tile, const float* weights, size_t stride,
            const uint32_t* positions, size_t count, float* const* out) {
  for (size_t i = 0; i < count;) {
    const size_t n = i + kQueriesAtOnce <= count ? kQueriesAtOnce : 1;
    // Together as far as all of them go, then each on its own: a position that a query may not see
    // is never read for it.
    const uint32_t common = *std::min_element(positions + i, positions + i + n);
    for (size_t v = 0; v < layout.value_stride; v += hn::Lanes(Floats())) {
      if (n == kQueriesAtOnce) {
        AddLanes<type, kQueriesAtOnce>(layout, tile, weights + i * stride, stride, 0, common, v,
                                       out + i);
      }
      for (size_t k = i; k < i + n; ++k) {
        AddLanes<type, 1>(layout, tile, weights + k * stride, stride, n == 1 ? 0 : common,
                          positions[k], v, out + k);
      }
    }
    i += n;
  }
}

void TileScores(const TileLayout& layout, const std::byte* tile, const float* const* queries,
                size_t count, float* out, size_t stride) {
  switch (layout.type) {
    case CacheType::kF32:
      return Scores<CacheType::kF32>(layout, tile, queries, count, out, stride);
    case CacheType::kF16:
      return Scores<CacheType::kF16>(layout, tile, queries, count, out, stride);
    case CacheType::kQ8_0:
      return Scores<CacheType::kQ8_0>(layout, tile, queries, count, out, stride);
  }
}

void TileValues(const TileLayout& layout, const std::byte* tile, const float* weights,
                size_t stride, const uint32_t* positions, size_t count, float* const* out) {
  switch (layout.type) {
    case CacheType::kF32:
      return Values<CacheType::kF32>(layout, tile, weights, stride, positions, count, out);
    case CacheType::kF16:
      return Values<CacheType::kF16>(layout, tile, weights, stride, positions, count, out);
    case CacheType::kQ8_0:
      return Values<CacheType::kQ8_0>(layout, tile, weights, stride, positions, count, out);
  }
}

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace quern::kernels::cpu {

HWY_EXPORT(TileScores);
HWY_EXPORT(TileValues);

void tile_scores(const TileLayout& layout, const std::byte* tile, const float* const* queries,
                 size_t count, float* out, size_t out_stride) {
  HWY_DYNAMIC_DISPATCH(TileScores)(layout, tile, queries, count, out, out_stride);
}

void tile_values(const TileLayout& layout, const std::byte* tile, const float* weights,
                 size_t weight_stride, const uint32_t* positions, size_t count, float* const* out) {
  HWY_DYNAMIC_DISPATCH(TileValues)(layout, tile, weights, weight_stride, positions, count, out);
}

}  // namespace quern::kernels::cpu
#endif  // HWY_ONCE
