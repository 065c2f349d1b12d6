// Kernels of the float formats: lane j of a 16-lane sum takes the values with k mod 16 = j, in the
// order of reference::dot_float. 16 lanes are one, two or four vectors.
#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/cpu/matmul_parts.h"
#include "kernels/cpu/reference.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/matmul_float.cpp"
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
// Rows and tokens of a register block: 16, 8 or 4 independent vectors of sums.
constexpr size_t kBlock = kVectors == 1 ? 4 : kVectors == 2 ? 2 : 1;

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

// 16 partial sums to one, folded 8-4-2-1.
HWY_INLINE float Fold(const VF* sums) {
  alignas(64) float s[kSums];
  for (size_t v = 0; v < kVectors; ++v) hn::Store(sums[v], DF(), s + v * kLanes);
  for (size_t half = kSums / 2; half > 0; half /= 2) {
    for (size_t j = 0; j < half; ++j) s[j] += s[j + half];
  }
  return s[0];
}

template <Format F, size_t kRows, size_t kTokens>
void MultiplyBlock(const MatMulTile& tile, size_t row, size_t token) {
  const std::make_index_sequence<kRows * kTokens * kVectors> all;
  const std::make_index_sequence<kRows * kVectors> row_vectors;
  const std::make_index_sequence<kTokens * kVectors> token_vectors;
  Operands<kRows, kTokens> from;
  for (size_t r = 0; r < kRows; ++r) from.rows[r] = tile.weights + (row + r) * tile.row_bytes;
  for (size_t t = 0; t < kTokens; ++t) {
    from.tokens[t] = tile.floats + (token + t) * tile.float_stride;
  }
  VF sums[kRows * kTokens * kVectors];
  for (VF& sum : sums) sum = hn::Zero(DF());
  size_t k = 0;
  for (; k + kSums <= tile.values; k += kSums) {
    Multiply16<F>(all, row_vectors, token_vectors, from, k, sums);
  }
  if (k < tile.values) {
    Tail<F, kRows, kTokens> tail;
    const auto padded = tail.Copy(from, k, tile.values - k);
    Multiply16<F>(all, row_vectors, token_vectors, padded, 0, sums);
  }
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t t = 0; t < kTokens; ++t) {
      tile.out[(token + t) * tile.out_stride + row + r] = Fold(sums + (r * kTokens + t) * kVectors);
    }
  }
}

// All rows times kTokens tokens, which stay in the cache meanwhile.
template <Format F, size_t kTokens>
void MultiplyTokens(const MatMulTile& tile, size_t token) {
  size_t row = 0;
  for (; row + kBlock <= tile.rows; row += kBlock) {
    MultiplyBlock<F, kBlock, kTokens>(tile, row, token);
  }
  for (; row < tile.rows; ++row) MultiplyBlock<F, 1, kTokens>(tile, row, token);
}

template <Format F>
void Multiply(const MatMulTile& tile) {
  size_t token = 0;
  for (; token + kBlock <= tile.tokens; token += kBlock) MultiplyTokens<F, kBlock>(tile, token);
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
