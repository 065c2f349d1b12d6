#include "kernels/cpu/attention_kernels.h"

#include <algorithm>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention_kernels.cpp"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/vector_math-inl.h"
#include "kernels/cpu/vector_math.h"

HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::CappedTag<float, 16>;
using Vector = hn::Vec<Floats>;
constexpr size_t kLanes = hn::MaxLanes(Floats());
// Both products are computed in tiles of kRows queries times kColumns vectors, which stay in
// registers: 16 chains where there are 32 registers, 8 otherwise, enough to hide the latency of
// fma.
constexpr size_t kRows = 4;
constexpr size_t kColumns = HWY_TARGET <= HWY_AVX3 || HWY_ARCH_ARM_A64 ? 4 : 2;
static_assert(kTilePositions % (kColumns * kLanes) == 0 && kScaleGroup % (2 * kLanes) == 0);

template <CacheType type>
constexpr size_t kCodeBytes = type == CacheType::kF32   ? 4
                              : type == CacheType::kF16 ? 2
                                                        : 1;

// A vector of stored values, as f32, without their scales.
template <CacheType type>
HWY_INLINE Vector Load(const std::byte* data) {
  const Floats d;
  if constexpr (type == CacheType::kF32) {
    return hn::LoadU(d, reinterpret_cast<const float*>(data));
  } else if constexpr (type == CacheType::kF16) {
    const hn::Rebind<hwy::float16_t, Floats> d16;
    return hn::PromoteTo(d, hn::LoadU(d16, reinterpret_cast<const hwy::float16_t*>(data)));
  } else {
    const hn::Rebind<int8_t, Floats> d8;
    const hn::Rebind<int32_t, Floats> d32;
    return hn::ConvertTo(d,
                         hn::PromoteTo(d32, hn::LoadU(d8, reinterpret_cast<const int8_t*>(data))));
  }
}

// Columns of a matrix in the cache: n vectors wide, rows `stride` bytes apart.
struct Columns {
  const std::byte* data;
  const std::byte* ahead;
  size_t stride;
};

// sum[i][v] = fma(a[i * a_stride + k], b_k[v], sum[i][v]) for k = begin … end - 1 ascending.
template <CacheType type, size_t m, size_t n>
HWY_INLINE void MultiplyAdd(const float* const (&a)[m], const Columns& b, size_t begin, size_t end,
                            Vector (&sum)[m][n]) {
  constexpr size_t kBytes = n * kLanes * kCodeBytes<type>;
  for (size_t k = begin; k < end; ++k) {
    for (size_t i = 0; i < kBytes; i += 64) hwy::Prefetch(b.ahead + k * b.stride + i);
    Vector x[n];
    for (size_t v = 0; v < n; ++v) {
      x[v] = Load<type>(b.data + k * b.stride + v * kLanes * kCodeBytes<type>);
    }
    for (size_t i = 0; i < m; ++i) {
      const Vector factor = hn::Set(Floats(), a[i][k]);
      for (size_t v = 0; v < n; ++v) sum[i][v] = Fma(factor, x[v], sum[i][v]);
    }
  }
}

template <size_t m, size_t n>
HWY_INLINE void SetZero(Vector (&sum)[m][n]) {
  for (auto& row : sum) {
    for (Vector& v : row) v = hn::Zero(Floats());
  }
}

template <size_t m, size_t n>
HWY_INLINE void Store(const Vector (&sum)[m][n], float* const* out, size_t offset) {
  for (size_t i = 0; i < m; ++i) {
    for (size_t v = 0; v < n; ++v) hn::StoreU(sum[i][v], Floats(), out[i] + offset + v * kLanes);
  }
}

template <CacheType type, size_t m>
void Scores(const TileLayout& layout, const std::byte* tile, const float* const* queries,
            float* const* out, const std::byte* ahead) {
  const float* q[m];
  std::copy_n(queries, m, q);
  for (size_t lane = 0; lane < kTilePositions; lane += kColumns * kLanes) {
    const size_t offset = lane * kCodeBytes<type>;
    const Columns keys{tile + offset, ahead + offset, kTilePositions * kCodeBytes<type>};
    Vector sum[m][kColumns];
    SetZero(sum);
    if constexpr (type == CacheType::kQ8_0) {
      const auto* scales = reinterpret_cast<const hwy::float16_t*>(tile + layout.key_scales) + lane;
      for (uint32_t k = 0; k < layout.key_width; k += kScaleGroup, scales += kTilePositions) {
        Vector group[m][kColumns];
        SetZero(group);
        MultiplyAdd<type>(q, keys, k, std::min(layout.key_width, k + kScaleGroup), group);
        for (size_t v = 0; v < kColumns; ++v) {
          const Vector scale =
              Load<CacheType::kF16>(reinterpret_cast<const std::byte*>(scales + v * kLanes));
          for (size_t i = 0; i < m; ++i) sum[i][v] = Fma(group[i][v], scale, sum[i][v]);
        }
      }
    } else {
      MultiplyAdd<type>(q, keys, 0, layout.key_width, sum);
    }
    Store(sum, out, lane);
  }
}

// Adds positions [begin, end) to the n vectors of the outputs at `column`.
template <CacheType type, size_t m, size_t n>
HWY_INLINE void AddValues(const TileLayout& layout, const std::byte* tile,
                          const float* const (&weights)[m], size_t begin, size_t end, size_t column,
                          float* const* out, const std::byte* ahead) {
  const size_t offset = column * kCodeBytes<type>;
  Vector sum[m][n];
  for (size_t i = 0; i < m; ++i) {
    for (size_t v = 0; v < n; ++v) {
      sum[i][v] = hn::LoadU(Floats(), out[i] + column + v * kLanes);
    }
  }
  MultiplyAdd<type>(weights,
                    {tile + offset, ahead + offset, layout.value_stride * kCodeBytes<type>}, begin,
                    end, sum);
  Store(sum, out, column);
}

// The weights of m queries times the scales of one group of values: out[m][kTilePositions].
template <size_t m>
HWY_INLINE void ScaleWeights(const float* const (&weights)[m], const std::byte* scales,
                             size_t positions, float (&out)[m][kTilePositions]) {
  const Floats d;
  for (size_t j = 0; j < positions; j += kLanes) {
    const Vector scale = Load<CacheType::kF16>(scales + j * sizeof(uint16_t));
    for (size_t i = 0; i < m; ++i) {
      hn::StoreU(hn::Mul(hn::LoadU(d, weights[i] + j), scale), d, out[i] + j);
    }
  }
}

template <CacheType type, size_t m>
void Values(const TileLayout& layout, const std::byte* tile, const float* const* rows, size_t begin,
            size_t end, float* const* out, const std::byte* ahead) {
  const float* weights[m];
  std::copy_n(rows, m, weights);
  size_t column = 0;
  if constexpr (type == CacheType::kQ8_0) {
    for (; column < layout.value_stride; column += kScaleGroup) {
      float scaled[m][kTilePositions];
      const float* factors[m];
      for (size_t i = 0; i < m; ++i) factors[i] = scaled[i];
      ScaleWeights(
          weights,
          tile + layout.value_scales + column / kScaleGroup * kTilePositions * sizeof(uint16_t),
          end, scaled);
      for (size_t c = 0; c < kScaleGroup; c += 2 * kLanes) {
        AddValues<type, m, 2>(layout, tile, factors, begin, end, column + c, out, ahead);
      }
    }
  } else {
    for (; column + kColumns * kLanes <= layout.value_stride; column += kColumns * kLanes) {
      AddValues<type, m, kColumns>(layout, tile, weights, begin, end, column, out, ahead);
    }
    for (; column < layout.value_stride; column += 2 * kLanes) {
      AddValues<type, m, 2>(layout, tile, weights, begin, end, column, out, ahead);
    }
  }
}

// Calls use(integral constant of the count, first) for runs of at most kRows of `count` queries.
template <class Use>
HWY_INLINE void ForRows(size_t count, Use use) {
  size_t i = 0;
  for (; i + kRows <= count; i += kRows) use(std::integral_constant<size_t, kRows>(), i);
  switch (count - i) {
    case 3:
      return use(std::integral_constant<size_t, 3>(), i);
    case 2:
      return use(std::integral_constant<size_t, 2>(), i);
    case 1:
      return use(std::integral_constant<size_t, 1>(), i);
  }
}

// Calls use(integral constant of the type).
template <class Use>
HWY_INLINE void ForType(CacheType type, Use use) {
  switch (type) {
    case CacheType::kF32:
      return use(std::integral_constant<CacheType, CacheType::kF32>());
    case CacheType::kF16:
      return use(std::integral_constant<CacheType, CacheType::kF16>());
    case CacheType::kQ8_0:
      return use(std::integral_constant<CacheType, CacheType::kQ8_0>());
  }
}

void TileScores(const TileLayout& layout, const std::byte* tile, const float* const* queries,
                size_t count, float* out, size_t stride, const std::byte* ahead) {
  ForType(layout.type, [&](auto type) {
    ForRows(count, [&](auto m, size_t i) {
      float* rows[m];
      for (size_t k = 0; k < m; ++k) rows[k] = out + (i + k) * stride;
      Scores<type, m>(layout, tile, queries + i, rows, ahead);
    });
  });
}

void TileValues(const TileLayout& layout, const std::byte* tile, const float* weights,
                size_t stride, const Span* seen, size_t count, float* const* out,
                const std::byte* ahead) {
  ForType(layout.type, [&](auto type) {
    ForRows(count, [&](auto m, size_t i) {
      const float* rows[m];
      for (size_t k = 0; k < m; ++k) rows[k] = weights + (i + k) * stride;
      // Together as far as all of them go, before and after it each on its own: a position that a
      // query may not see is never read for it.
      Span common = seen[i];
      for (size_t k = 1; k < m; ++k) {
        common.begin = std::max(common.begin, seen[i + k].begin);
        common.end = std::min(common.end, seen[i + k].end);
      }
      common.end = std::max(common.begin, common.end);
      const auto alone = [&](size_t k, uint32_t begin, uint32_t end) {
        if (begin < end) Values<type, 1>(layout, tile, rows + k, begin, end, out + i + k, ahead);
      };
      for (size_t k = 0; k < m; ++k) {
        alone(k, seen[i + k].begin, std::min(seen[i + k].end, common.begin));
      }
      Values<type, m>(layout, tile, rows, common.begin, common.end, out + i, ahead);
      for (size_t k = 0; k < m; ++k) {
        alone(k, std::max(common.end, seen[i + k].begin), seen[i + k].end);
      }
    });
  });
}

void Softmax(float* w, Span seen, float scale, const Partial& out) {
  const Floats d;
  constexpr float kLowest = -std::numeric_limits<float>::infinity();
  const size_t first = seen.begin / 16 * 16, padded = (seen.end + 15) / 16 * 16;
  std::fill(w + first, w + seen.begin, kLowest);
  std::fill(w + seen.end, w + padded, kLowest);
  Vector largest = hn::Set(d, kLowest);
  for (size_t j = first; j < padded; j += kLanes) largest = hn::Max(largest, hn::LoadU(d, w + j));
  const float maximum = scale * hn::GetLane(hn::MaxOfLanes(d, largest));
  Vector sums[16 / kLanes];
  for (Vector& sum : sums) sum = hn::Zero(d);
  for (size_t j = first; j < padded; j += 16) {
    for (size_t v = 0; v < 16 / kLanes; ++v) {
      float* at = w + j + v * kLanes;
      const Vector x = Fma(hn::LoadU(d, at), hn::Set(d, scale), hn::Set(d, -maximum));
      const Vector weight = Exp(d, x);
      hn::StoreU(weight, d, at);
      sums[v] = hn::Add(sums[v], weight);
    }
  }
  out.maximum() = maximum;
  for (size_t v = 0; v < 16 / kLanes; ++v) hn::StoreU(sums[v], d, out.sums() + v * kLanes);
}

void Merge(const Partial& into, const Partial& next, const TileLayout& layout) {
  const Floats d;
  const float maximum = std::max(into.maximum(), next.maximum());
  const Vector factor = Exp(d, hn::Set(d, into.maximum() - maximum));
  const Vector next_factor = Exp(d, hn::Set(d, next.maximum() - maximum));
  into.maximum() = maximum;
  for (size_t i = 16; i < Partial::floats(layout); i += kLanes) {
    const Vector before = hn::Mul(hn::LoadU(d, into.data + i), factor);
    hn::StoreU(Fma(hn::LoadU(d, next.data + i), next_factor, before), d, into.data + i);
  }
}

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace quern::kernels::cpu {

HWY_EXPORT(TileScores);
HWY_EXPORT(TileValues);
HWY_EXPORT(Softmax);
HWY_EXPORT(Merge);

void tile_scores(const TileLayout& layout, const std::byte* tile, const float* const* queries,
                 size_t count, float* out, size_t out_stride, const std::byte* ahead) {
  HWY_DYNAMIC_DISPATCH(TileScores)(layout, tile, queries, count, out, out_stride, ahead);
}

void tile_values(const TileLayout& layout, const std::byte* tile, const float* weights,
                 size_t weight_stride, const Span* seen, size_t count, float* const* out,
                 const std::byte* ahead) {
  HWY_DYNAMIC_DISPATCH(TileValues)
  (layout, tile, weights, weight_stride, seen, count, out, ahead);
}

void softmax(float* w, Span seen, float scale, const Partial& out) {
  HWY_DYNAMIC_DISPATCH(Softmax)(w, seen, scale, out);
}

void finish(const Partial& partial, const float* sink, uint32_t width, float* out) {
  float* sums = partial.sums();
  for (size_t half = 8; half > 0; half /= 2) {
    for (size_t j = 0; j < half; ++j) sums[j] += sums[j + half];
  }
  float factor = 1, sum = sums[0];
  if (sink) {
    const float maximum = std::max(partial.maximum(), *sink);
    float shares[] = {partial.maximum(), *sink};
    exp_shifted(shares, 2, maximum);
    factor = shares[0];
    sum = sum * factor + shares[1];
  }
  for (uint32_t d = 0; d < width; ++d) out[d] = partial.values()[d] * factor / sum;
}

void merge(const Partial& into, const Partial& next, const TileLayout& layout) {
  HWY_DYNAMIC_DISPATCH(Merge)(into, next, layout);
}

}  // namespace quern::kernels::cpu
#endif  // HWY_ONCE
