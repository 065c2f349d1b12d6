// Kernels of the float formats: lane j of a 16-lane sum takes the values with k mod 16 = j, in the
// order of reference::dot_float. 16 lanes are one, two or four vectors.
#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/cpu/matmul_parts.h"
#include "kernels/cpu/reference.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/matmul_float.cpp"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR

void MatMulFloat(const MatMulTile& tile) {
  for (size_t t = 0; t < tile.tokens; ++t) {
    for (size_t r = 0; r < tile.rows; ++r) {
      tile.out[t * tile.out_stride + r] =
          reference::dot_float(tile.format, tile.weights + r * tile.row_bytes,
                               tile.floats + t * tile.float_stride, tile.values);
    }
  }
}

#else

namespace hn = hwy::HWY_NAMESPACE;
using gguf::Format;
using gguf::Traits;

constexpr size_t kSums = 16;  // partial sums of one output
using DF = hn::CappedTag<float, kSums>;
using VF = hn::Vec<DF>;
constexpr size_t kLanes = hn::MaxLanes(DF());
constexpr size_t kVectors = kSums / kLanes;
// A register block: as many vectors of sums as registers allow.
constexpr size_t kBlockRows = kVectors == 1 ? 4 : kVectors == 2 ? 2 : 1;
constexpr size_t kBlockTokens = kVectors == 1 ? 6 : kVectors == 2 ? 2 : 1;
// Values that a block of tokens is multiplied with before the next ones: these activations stay in
// the first-level cache while all rows of the tile pass by.
constexpr size_t kSliceValues = 1024;

// The partial sums of a tile's rows with a block of tokens.
struct alignas(64) TileSums {
  float sums[kRowTile][kBlockTokens][kSums];
};

// kLanes weights from value `k` of a row on.
template <Format F>
HWY_INLINE VF LoadWeights(const std::byte* row, size_t k) {
  const DF d;
  const auto* at = reinterpret_cast<const uint8_t*>(row) + k * Traits<F>::kBytes;
  if constexpr (F == Format::F32) {
    return hn::BitCast(d, hn::LoadU(hn::Repartition<uint8_t, DF>(), at));
  } else {
    const hn::Rebind<uint16_t, DF> d16;
    const auto bits = hn::BitCast(d16, hn::LoadU(hn::Repartition<uint8_t, decltype(d16)>(), at));
    using Half = std::conditional_t<F == Format::F16, hwy::float16_t, hwy::bfloat16_t>;
    return hn::PromoteTo(d, hn::BitCast(hn::Rebind<Half, DF>(), bits));
  }
}

// Rows and tokens that one register block multiplies.
template <size_t kRows, size_t kTokens>
struct Operands {
  const std::byte* rows[kRows];
  const float* tokens[kTokens];
};

// sums += values k … k + 15. Sum i belongs to row i / kVectors / kTokens, token i / kVectors %
// kTokens and vector i % kVectors of the 16 lanes.
template <Format F, size_t kRows, size_t kTokens, size_t... i, size_t... r, size_t... t>
HWY_INLINE void Multiply16(std::index_sequence<i...>, std::index_sequence<r...>,
                           std::index_sequence<t...>, const Operands<kRows, kTokens>& from,
                           size_t k, VF (&sums)[kRows * kTokens * kVectors]) {
  const VF w[] = {LoadWeights<F>(from.rows[r / kVectors], k + r % kVectors * kLanes)...};
  const VF x[] = {hn::LoadU(DF(), from.tokens[t / kVectors] + k + t % kVectors * kLanes)...};
  ((sums[i] = hn::MulAdd(w[i / kVectors / kTokens * kVectors + i % kVectors],
                         x[i / kVectors % kTokens * kVectors + i % kVectors], sums[i])),
   ...);
}

// The last values of rows and tokens, padded with zeros to 16.
template <Format F, size_t kRows, size_t kTokens>
struct Tail {
  std::byte rows[kRows][kSums * sizeof(float)] = {};
  float tokens[kTokens][kSums] = {};

  Operands<kRows, kTokens> Copy(const Operands<kRows, kTokens>& from, size_t k, size_t values) {
    Operands<kRows, kTokens> copied;
    for (size_t r = 0; r < kRows; ++r) {
      std::memcpy(rows[r], from.rows[r] + k * Traits<F>::kBytes, values * Traits<F>::kBytes);
      copied.rows[r] = rows[r];
    }
    for (size_t t = 0; t < kTokens; ++t) {
      std::memcpy(tokens[t], from.tokens[t] + k, values * sizeof(float));
      copied.tokens[t] = tokens[t];
    }
    return copied;
  }
};

// Partial sums to one, folded …-4-2-1.
template <class D>
HWY_INLINE float FoldLanes(hn::Vec<D> sums) {
  if constexpr (hn::MaxLanes(D()) == 4) {
    sums = hn::Add(sums, hn::Shuffle1032(sums));
    return hn::GetLane(hn::Add(sums, hn::Shuffle2301(sums)));
  } else {
    const hn::Half<D> half;
    return FoldLanes<hn::Half<D> >(hn::Add(hn::LowerHalf(half, sums), hn::UpperHalf(half, sums)));
  }
}
// 16 of them, folded 8-4-2-1.
HWY_INLINE float Fold(const float* s) {
  VF sums[kVectors];
  for (size_t v = 0; v < kVectors; ++v) sums[v] = hn::Load(DF(), s + v * kLanes);
  for (size_t half = kVectors / 2; half > 0; half /= 2) {
    for (size_t v = 0; v < half; ++v) sums[v] = hn::Add(sums[v], sums[v + half]);
  }
  return FoldLanes<DF>(sums[0]);
}

// Where sum i of a register block (see Multiply16) lies, whose first row is `row`.
template <size_t kTokens>
HWY_INLINE float* Place(TileSums& all, size_t row, size_t i) {
  return all.sums[row + i / kVectors / kTokens][i / kVectors % kTokens] + i % kVectors * kLanes;
}
// By constant indices, so that sums are registers.
template <size_t kTokens, size_t... i>
HWY_INLINE void LoadSums(std::index_sequence<i...>, TileSums& all, size_t row, VF* sums) {
  ((sums[i] = hn::Load(DF(), Place<kTokens>(all, row, i))), ...);
}
template <size_t kTokens, size_t... i>
HWY_INLINE void StoreSums(std::index_sequence<i...>, TileSums& all, size_t row, const VF* sums) {
  (hn::Store(sums[i], DF(), Place<kTokens>(all, row, i)), ...);
}

// all[row …][0 …] += values [begin, end) of a register block.
template <Format F, size_t kRows, size_t kTokens>
void MultiplyBlock(const MatMulTile& tile, size_t row, size_t token, size_t begin, size_t end,
                   TileSums& all) {
  const std::make_index_sequence<kRows * kTokens * kVectors> every;
  const std::make_index_sequence<kRows * kVectors> row_vectors;
  const std::make_index_sequence<kTokens * kVectors> token_vectors;
  Operands<kRows, kTokens> from;
  for (size_t r = 0; r < kRows; ++r) from.rows[r] = tile.weights + (row + r) * tile.row_bytes;
  for (size_t t = 0; t < kTokens; ++t) {
    from.tokens[t] = tile.floats + (token + t) * tile.float_stride;
  }
  VF sums[kRows * kTokens * kVectors];
  LoadSums<kTokens>(every, all, row, sums);
  size_t k = begin;
  for (; k + kSums <= end; k += kSums) {
    if constexpr (kTokens == 1) {  // one token only reads weights: ask for the next block's in time
      for (const std::byte* at : from.rows) {
        hwy::Prefetch(at + kRows * tile.row_bytes + k * Traits<F>::kBytes);
      }
    }
    Multiply16<F>(every, row_vectors, token_vectors, from, k, sums);
  }
  if (k < end) {
    Tail<F, kRows, kTokens> tail;
    const auto padded = tail.Copy(from, k, end - k);
    Multiply16<F>(every, row_vectors, token_vectors, padded, 0, sums);
  }
  StoreSums<kTokens>(every, all, row, sums);
}

// All rows times kTokens tokens.
template <Format F, size_t kTokens>
void MultiplyTokens(const MatMulTile& tile, size_t token) {
  TileSums all = {};
  for (size_t begin = 0; begin < tile.values; begin += kSliceValues) {
    const size_t end = std::min(begin + kSliceValues, tile.values);
    size_t row = 0;
    for (; row + kBlockRows <= tile.rows; row += kBlockRows) {
      MultiplyBlock<F, kBlockRows, kTokens>(tile, row, token, begin, end, all);
    }
    for (; row < tile.rows; ++row) MultiplyBlock<F, 1, kTokens>(tile, row, token, begin, end, all);
  }
  for (size_t r = 0; r < tile.rows; ++r) {
    for (size_t t = 0; t < kTokens; ++t) {
      tile.out[(token + t) * tile.out_stride + r] = Fold(all.sums[r][t]);
    }
  }
}

template <Format F>
void Multiply(const MatMulTile& tile) {
  size_t token = 0;
  for (; token + kBlockTokens <= tile.tokens; token += kBlockTokens) {
    MultiplyTokens<F, kBlockTokens>(tile, token);
  }
  for (; token < tile.tokens; ++token) MultiplyTokens<F, 1>(tile, token);
}

void MatMulFloat(const MatMulTile& tile) {
  switch (tile.format) {
    case Format::F16:
      return Multiply<Format::F16>(tile);
    case Format::BF16:
      return Multiply<Format::BF16>(tile);
    default:
      return Multiply<Format::F32>(tile);
  }
}

#endif
}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace quern::kernels::cpu {

HWY_EXPORT(MatMulFloat);

void matmul_float(const MatMulTile& tile) { HWY_DYNAMIC_DISPATCH(MatMulFloat)(tile); }

}  // namespace quern::kernels::cpu
#endif
