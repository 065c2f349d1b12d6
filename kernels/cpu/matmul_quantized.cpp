// Integer kernels of all quantized formats: 16 weight rows are unpacked to a panel, 256 values at a
// time, and multiplied with all tokens. Lane = weight row; the order of additions is that of
// reference::dot_quantized.
#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/cpu/matmul_parts.h"
#include "kernels/cpu/panel.h"
#include "kernels/cpu/reference.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/matmul_quantized.cpp"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/dot_lanes-inl.h"

#ifndef QUERN_MATMUL_QUANTIZED_ONCE
#define QUERN_MATMUL_QUANTIZED_ONCE
namespace quern::kernels::cpu {

// Tokens that one pass over a panel serves: as many as keep their sums in registers.
inline constexpr size_t kTokenBlock = 8;
// Room for one row of 256 values of any format, used when a tile has fewer than 16 rows.
inline constexpr size_t kRowCopyBytes = 288;
// Size of Scratch on any instruction set.
inline constexpr size_t kScratchBytes = 20 * 1024;

// One output chain per weight row.
struct alignas(64) RowSums {
  float rows[kPanelRows];
};

}  // namespace quern::kernels::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR

void MatMulQuantized(const MatMulTile& tile, std::byte*) {
  const QuantizedLayout layout{tile.values};
  for (size_t t = 0; t < tile.tokens; ++t) {
    const QuantizedRow x = layout.row(const_cast<std::byte*>(tile.quantized), t);
    for (size_t r = 0; r < tile.rows; ++r) {
      tile.out[t * tile.out_stride + r] =
          reference::dot_quantized(tile.format, tile.weights + r * tile.row_bytes, x, tile.values);
    }
  }
}

#else

using DF = hn::CappedTag<float, kPanelRows>;
using VF = hn::Vec<DF>;

// One token's activations over the values of a panel.
struct TokenStep {
  DotCodes codes;
  alignas(64) float scale[kPanelValues / kActivationGroup];  // per 32 values
  // Of group g, at [g * kGroup / 16]: the sum of its codes, and -sum * bias, where its dot starts.
  alignas(64) float sum[kPanelValues / kSumGroup];
  alignas(64) int32_t start[kPanelValues / kSumGroup];

  // `values` is a constant in all but the last step of a row, hence the inlining.
  template <size_t kGroup>
  HWY_INLINE void Set(const QuantizedRow& x, size_t k, size_t values) {
    codes.Set(x.codes + k, values);
    std::memcpy(scale, x.scales + k / kActivationGroup, values / kActivationGroup * sizeof(float));
    const DI di;
    const int32_t* sums = x.sums + k / kSumGroup;  // padded to 16 (QuantizedLayout)
    for (size_t i = 0; i < kPanelValues / kSumGroup; i += hn::MaxLanes(di)) {
      VI v = hn::LoadU(di, sums + i);
      if constexpr (kGroup == kActivationGroup) {  // even lanes: add the next one
        const hn::Repartition<uint64_t, DI> d64;
        v = hn::Add(v, hn::BitCast(di, hn::ShiftRight<32>(hn::BitCast(d64, v))));
      }
      hn::Store(hn::ConvertTo(DF(), v), DF(), sum + i);
      hn::Store(hn::Neg(hn::ShiftLeft<7>(v)), di, start + i);
    }
  }
};
static_assert(kPanelBias == 1 << 7);

// What a tile works in; the sums of all tokens follow it.
struct Scratch {
  Panel panel;
  TokenStep steps[kTokenBlock];
  alignas(64) std::byte row_copies[kPanelRows * kRowCopyBytes];
};
static_assert(sizeof(Scratch) <= kScratchBytes);

// P of group g for each token t: the exact integer dot products, as floats.
template <size_t kGroup, size_t... t>
HWY_INLINE void DotGroup(std::index_sequence<t...>, const Panel& panel, size_t lane, size_t g,
                         const TokenStep* steps, VF (&p)[sizeof...(t)]) {
  const DI di;
  VI sums[] = {hn::Set(di, steps[t].start[g * kGroup / kSumGroup])...};
  for (size_t i = 0; i < kGroup / 4; ++i) {
    const size_t index = g * (kGroup / 4) + i;
    const V32 w = hn::Load(D32(), reinterpret_cast<const uint32_t*>(&panel.codes[index][lane]));
    ((sums[t] = DotAccumulate(sums[t], w, steps[t].codes, index)), ...);
  }
  ((p[t] = hn::ConvertTo(DF(), sums[t])), ...);
}

// acc[t] += the products of a panel with tokens 0 … sizeof...(t) - 1, Lanes(DF()) rows from `lane`
// on.
template <size_t kGroup, size_t... t>
HWY_INLINE void AddProducts(std::index_sequence<t...> tokens, const Panel& panel, size_t lane,
                            size_t values, const TokenStep* steps, RowSums* acc) {
  const DF d;
  VF sums[] = {hn::Load(d, acc[t].rows + lane)...};
  for (size_t g = 0; g < values / kActivationGroup; ++g) {
    VF p[sizeof...(t)];
    if constexpr (kGroup == kActivationGroup) {
      DotGroup<kGroup>(tokens, panel, lane, g, steps, p);
      const VF scale = hn::Load(d, panel.scale[g] + lane);
      ((p[t] = hn::Mul(p[t], scale)), ...);
    } else {
      VF first[sizeof...(t)];
      DotGroup<kGroup>(tokens, panel, lane, 2 * g, steps, first);
      const VF first_scale = hn::Load(d, panel.scale[2 * g] + lane);
      ((first[t] = hn::Mul(first[t], first_scale)), ...);
      DotGroup<kGroup>(tokens, panel, lane, 2 * g + 1, steps, p);
      const VF scale = hn::Load(d, panel.scale[2 * g + 1] + lane);
      ((p[t] = hn::MulAdd(p[t], scale, first[t])), ...);
    }
    ((sums[t] = hn::MulAdd(p[t], hn::Set(d, steps[t].scale[g]), sums[t])), ...);
  }
  (hn::Store(sums[t], d, acc[t].rows + lane), ...);
}

// The same for the minimums and the sums of activation codes.
template <size_t kGroup, size_t... t>
HWY_INLINE void AddMinimums(std::index_sequence<t...>, const Panel& panel, size_t lane,
                            size_t values, const TokenStep* steps, RowSums* mins) {
  const DF d;
  VF sums[] = {hn::Load(d, mins[t].rows + lane)...};
  for (size_t g = 0; g < values / kActivationGroup; ++g) {
    VF m[sizeof...(t)];
    if constexpr (kGroup == kActivationGroup) {
      const VF min = hn::Load(d, panel.min[g] + lane);
      ((m[t] = hn::Mul(hn::Set(d, steps[t].sum[2 * g]), min)), ...);
    } else {
      const VF min0 = hn::Load(d, panel.min[2 * g] + lane);
      const VF min1 = hn::Load(d, panel.min[2 * g + 1] + lane);
      ((m[t] = hn::Mul(hn::Set(d, steps[t].sum[2 * g]), min0)), ...);
      ((m[t] = hn::MulAdd(hn::Set(d, steps[t].sum[2 * g + 1]), min1, m[t])), ...);
    }
    ((sums[t] = hn::MulAdd(m[t], hn::Set(d, steps[t].scale[g]), sums[t])), ...);
  }
  (hn::Store(sums[t], d, mins[t].rows + lane), ...);
}

// A panel times kTokens tokens.
template <size_t kTokens, size_t kGroup>
void MultiplyPanel(const Panel& panel, size_t values, bool with_minimums, const TokenStep* steps,
                   RowSums* acc, RowSums* mins) {
  const std::make_index_sequence<kTokens> tokens;
  for (size_t lane = 0; lane < kPanelRows; lane += hn::MaxLanes(DF())) {
    AddProducts<kGroup>(tokens, panel, lane, values, steps, acc);
    if (with_minimums) AddMinimums<kGroup>(tokens, panel, lane, values, steps, mins);
  }
}

// A panel times 1 … kTokenBlock tokens.
template <size_t kGroup>
void MultiplyBlock(const Panel& panel, size_t values, bool with_minimums, const TokenStep* steps,
                   size_t tokens, RowSums* acc, RowSums* mins) {
  const auto pass = [&](auto count, size_t& done) {
    MultiplyPanel<count, kGroup>(panel, values, with_minimums, steps + done, acc + done,
                                 mins + done);
    done += count;
  };
  size_t done = 0;
  if (tokens - done >= 8) pass(std::integral_constant<size_t, 8>(), done);
  if (tokens - done >= 4) pass(std::integral_constant<size_t, 4>(), done);
  if (tokens - done >= 2) pass(std::integral_constant<size_t, 2>(), done);
  if (tokens - done >= 1) pass(std::integral_constant<size_t, 1>(), done);
}

// Adds the products of the unpacked values k … k + values - 1 with all tokens.
template <size_t kGroup>
void AddPanel(const MatMulTile& tile, size_t k, size_t values, Scratch& scratch, RowSums* acc,
              RowSums* mins) {
  const QuantizedLayout layout{tile.values};
  for (size_t t = 0; t < tile.tokens; t += kTokenBlock) {
    const size_t tokens = std::min(kTokenBlock, tile.tokens - t);
    for (size_t i = 0; i < tokens; ++i) {
      const QuantizedRow x = layout.row(const_cast<std::byte*>(tile.quantized), t + i);
      if (values == kPanelValues) {
        scratch.steps[i].Set<kGroup>(x, k, kPanelValues);
      } else {
        scratch.steps[i].Set<kGroup>(x, k, values);
      }
    }
    MultiplyBlock<kGroup>(scratch.panel, values, has_minimum(tile.format), scratch.steps, tokens,
                          acc + t, mins + t);
  }
}

// Bytes of each row that are asked for ahead of their use: 16 rows at a time are more streams than
// hardware follows well.
constexpr size_t kPrefetchBytes = 512;

// Asks for the part of every row that comes kPrefetchBytes after values k … k + values - 1; past
// the end of a row, for the same part of the next tile, which usually follows. (Inline, because g++
// drops calls of functions that only prefetch.)
HWY_INLINE void Prefetch(const MatMulTile& tile, size_t k, size_t values) {
  const gguf::FormatInfo& facts = gguf::info(tile.format);
  size_t offset = facts.row_bytes(k) + kPrefetchBytes;
  if (offset >= tile.row_bytes) offset += (kPanelRows - 1) * tile.row_bytes;
  const size_t bytes = facts.row_bytes(values);
  for (size_t r = 0; r < tile.rows; ++r) {
    const std::byte* row = tile.weights + r * tile.row_bytes + offset;
    for (size_t i = 0; i < bytes; i += 64) hwy::Prefetch(row + i);
  }
}

// Unpacks values k … k + values - 1 of the tile's rows. Missing rows are zero bytes.
void Unpack(const MatMulTile& tile, size_t k, size_t values, Scratch& scratch) {
  const gguf::FormatInfo& facts = gguf::info(tile.format);
  const std::byte* blocks = tile.weights + facts.row_bytes(k);
  size_t stride = tile.row_bytes;
  if (tile.rows < kPanelRows) {
    stride = facts.row_bytes(values);
    std::memset(scratch.row_copies, 0, kPanelRows * stride);
    for (size_t r = 0; r < tile.rows; ++r) {
      std::memcpy(scratch.row_copies + r * stride, blocks + r * tile.row_bytes, stride);
    }
    blocks = scratch.row_copies;
  }
  unpack_panel(tile.format, blocks, stride, values, scratch.panel);
}

void MatMulQuantized(const MatMulTile& tile, std::byte* scratch_bytes) {
  auto& scratch = *reinterpret_cast<Scratch*>(scratch_bytes);
  auto* acc = reinterpret_cast<RowSums*>(scratch_bytes + kScratchBytes);
  RowSums* mins = acc + tile.tokens;
  std::fill(acc, acc + 2 * tile.tokens, RowSums{});
  const bool pairs = gguf::info(tile.format).scale_group == kSumGroup;
  const auto add_panel = pairs ? AddPanel<kSumGroup> : AddPanel<kActivationGroup>;
  for (size_t k = 0; k < tile.values; k += kPanelValues) {
    const size_t values = std::min(kPanelValues, tile.values - k);
    Prefetch(tile, k, values);
    Unpack(tile, k, values, scratch);
    add_panel(tile, k, values, scratch, acc, mins);
  }
  for (size_t t = 0; t < tile.tokens; ++t) {
    for (size_t r = 0; r < tile.rows; ++r) {
      tile.out[t * tile.out_stride + r] = acc[t].rows[r] - mins[t].rows[r];
    }
  }
}

#endif

const char* InstructionSet() { return hwy::TargetName(HWY_TARGET); }

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace quern::kernels::cpu {

HWY_EXPORT(MatMulQuantized);
HWY_EXPORT(InstructionSet);

void matmul_quantized(const MatMulTile& tile, std::byte* scratch) {
  HWY_DYNAMIC_DISPATCH(MatMulQuantized)(tile, scratch);
}

size_t matmul_scratch_bytes(size_t tokens) { return kScratchBytes + 2 * tokens * sizeof(RowSums); }

const char* instruction_set() { return HWY_DYNAMIC_DISPATCH(InstructionSet)(); }

}  // namespace quern::kernels::cpu
#endif
