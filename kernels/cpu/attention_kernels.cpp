#include "kernels/cpu/attention_kernels.h"

#include <algorithm>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention_kernels.cpp"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/attention.h"
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

constexpr size_t kSums = 16;                 // of an output, by position mod 16
constexpr size_t kVectors = kSums / kLanes;  // that hold them
// Key rows that are summed together, in as many registers as elsewhere.
constexpr size_t kKeyRows = std::max<size_t>(1, kColumns / kVectors);

// s[j] + s[j + 8], of these s[j] + s[j + 4], and so on: one number.
HWY_INLINE float AddHalves(const Vector (&sums)[kVectors]) {
  Vector x[kVectors];
  std::copy_n(sums, kVectors, x);
  for (size_t half = kVectors / 2; half > 0; half /= 2) {
    for (size_t v = 0; v < half; ++v) x[v] = hn::Add(x[v], x[v + half]);
  }
  HWY_ALIGN float lanes[kLanes];
  hn::Store(x[0], Floats(), lanes);
  for (size_t half = kLanes / 2; half > 0; half /= 2) {
    for (size_t j = 0; j < half; ++j) lanes[j] += lanes[j + half];
  }
  return lanes[0];
}

// The weights of m queries over consecutive tiles, and what each of them sees.
template <size_t m>
struct Weighing {
  const std::byte* const* tiles;
  const float* weights[m];
  Span seen[m];
  Span all, common;
};

// out_i[r] for the n key rows from `row` on. Positions that a query does not see count nothing, as
// zeros times zeros.
template <CacheType type, size_t m, size_t n>
HWY_INLINE void SumKeyRows(const Weighing<m>& w, const float* const (&factors)[m], size_t row,
                           float (&out)[m][n]) {
  const Floats d;
  Vector sum[m][n][kVectors];
  for (auto& rows : sum) SetZero(rows);
  for (uint32_t j = w.all.begin / kSums * kSums; j < w.all.end; j += kSums) {
    const bool whole = j >= w.common.begin && j + kSums <= w.common.end;
    const std::byte* keys = w.tiles[j / kTilePositions] +
                            (row * kTilePositions + j % kTilePositions) * kCodeBytes<type>;
    for (size_t v = 0; v < kVectors; ++v) {
      const auto position = hn::Iota(d, static_cast<float>(j + v * kLanes));
      Vector x[n];
      for (size_t r = 0; r < n; ++r) {
        x[r] = Load<type>(keys + (r * kTilePositions + v * kLanes) * kCodeBytes<type>);
      }
      for (size_t i = 0; i < m; ++i) {
        const Vector weight = hn::LoadU(d, factors[i] + j + v * kLanes);
        if (whole) {
          for (size_t r = 0; r < n; ++r) sum[i][r][v] = Fma(weight, x[r], sum[i][r][v]);
          continue;
        }
        const auto sees = hn::And(hn::Ge(position, hn::Set(d, static_cast<float>(w.seen[i].begin))),
                                  hn::Lt(position, hn::Set(d, static_cast<float>(w.seen[i].end))));
        for (size_t r = 0; r < n; ++r) {
          sum[i][r][v] =
              Fma(hn::IfThenElseZero(sees, weight), hn::IfThenElseZero(sees, x[r]), sum[i][r][v]);
        }
      }
    }
  }
  for (size_t i = 0; i < m; ++i) {
    for (size_t r = 0; r < n; ++r) out[i][r] = AddHalves(sum[i][r]);
  }
}

// The factors of the codes in the group of 32 that key row `row` belongs to: weights times scales.
template <CacheType type, size_t m>
HWY_INLINE void ScaleGranule(const TileLayout& layout, const Weighing<m>& w, size_t row,
                             float (&out)[m][kGranulePositions]) {
  const size_t scales = layout.key_scales + row / kScaleGroup * kTilePositions * sizeof(uint16_t);
  for (uint32_t t = w.all.begin / kTilePositions; t * kTilePositions < w.all.end; ++t) {
    const float* weights[m];
    float scaled[m][kTilePositions];
    for (size_t i = 0; i < m; ++i) weights[i] = w.weights[i] + t * kTilePositions;
    ScaleWeights(weights, w.tiles[t] + scales, kTilePositions, scaled);
    for (size_t i = 0; i < m; ++i)
      std::copy_n(scaled[i], kTilePositions, out[i] + t * kTilePositions);
  }
}

template <CacheType type, size_t m>
void SharedRows(const TileLayout& layout, const Weighing<m>& w, float* const* out) {
  const size_t first = layout.key_width - layout.value_width;
  const float* factors[m];
  std::copy_n(w.weights, m, factors);
  float scaled[m][type == CacheType::kQ8_0 ? kGranulePositions : 1];
  const auto sum_rows = [&](auto n, size_t row) HWY_ATTR {
    float sums[m][n];
    SumKeyRows<type, m, n>(w, factors, row, sums);
    for (size_t i = 0; i < m; ++i) std::copy_n(sums[i], size_t{n}, out[i] + row - first);
  };
  for (size_t row = first; row < layout.key_width;) {
    const size_t end = std::min<size_t>(layout.key_width, (row / kScaleGroup + 1) * kScaleGroup);
    if constexpr (type == CacheType::kQ8_0) {
      ScaleGranule<type>(layout, w, row, scaled);
      for (size_t i = 0; i < m; ++i) factors[i] = scaled[i];
    }
    for (; row + kKeyRows <= end; row += kKeyRows) {
      sum_rows(std::integral_constant<size_t, kKeyRows>(), row);
    }
    for (; row < end; ++row) sum_rows(std::integral_constant<size_t, 1>(), row);
  }
}

void SharedValues(const TileLayout& layout, const std::byte* const* tiles, const float* weights,
                  size_t stride, const Span* seen, size_t count, float* const* out) {
  ForType(layout.type, [&](auto type) {
    ForRows(count, [&](auto m, size_t i) {
      Weighing<m> w = {
          .tiles = tiles, .weights = {}, .seen = {}, .all = seen[i], .common = seen[i]};
      for (size_t k = 0; k < m; ++k) {
        w.weights[k] = weights + (i + k) * stride;
        w.seen[k] = seen[i + k];
        w.all = {std::min(w.all.begin, w.seen[k].begin), std::max(w.all.end, w.seen[k].end)};
        w.common = {std::max(w.common.begin, w.seen[k].begin),
                    std::min(w.common.end, w.seen[k].end)};
      }
      SharedRows<type, m>(layout, w, out + i);
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
HWY_EXPORT(SharedValues);
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

void shared_values(const TileLayout& layout, const std::byte* const* tiles, const float* weights,
                   size_t weight_stride, const Span* seen, size_t count, float* const* out) {
  HWY_DYNAMIC_DISPATCH(SharedValues)(layout, tiles, weights, weight_stride, seen, count, out);
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
