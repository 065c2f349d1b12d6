// Integer kernels of all quantized formats. One or two tokens go straight through the format's own
// gemv; for more, 32 weight rows are unpacked to panels, 256 values at a time, and multiplied with
// all tokens. Lane = weight row; the order of additions is that of reference::dot_quantized.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "kernels/cpu/matmul_parts.h"
#include "kernels/cpu/packed.h"
#include "kernels/cpu/reference.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/matmul_quantized.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/dot_lanes-inl.h"

#ifndef QUERN_MATMUL_QUANTIZED_ONCE
#define QUERN_MATMUL_QUANTIZED_ONCE
namespace quern::kernels::cpu {

inline constexpr size_t kPanels = kRowTile / kPanelRows;

// One output chain per weight row.
struct alignas(64) RowSums {
  float rows[kRowTile];
};

// What a tile works in.
struct Scratch {
  Panel panels[kPanels];
  alignas(64) std::byte row_copies[kPanelRows * 288];  // 256 values of any format
};

static_assert(kPanelValues == kUnitValues);

// A panel product: what the kernels need to know of the format.
struct PanelFormat {
  enum class Minimums { kNone, kFloats, kCodes };

  bool scaled;         // scales_codes
  size_t scale_group;  // of minimums and, unless scaled, of products
  int bias;
  Minimums minimums;

  static PanelFormat of(gguf::Format format) {
    const bool scaled = scales_codes(format);
    const Minimums minimums = codes_minimums(format) ? Minimums::kCodes
                              : has_minimum(format)  ? Minimums::kFloats
                                                     : Minimums::kNone;
    return {scaled, gguf::info(format).scale_group,
            scaled ? scaled_bias(format) : code_bias(format), minimums};
  }
};

}  // namespace quern::kernels::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR

// What token t's activations of a group say.
struct GroupOfToken {
  int8_t codes[kActivationGroup];
  int16_t sums[2];  // of the halves
  int32_t shift;

  GroupOfToken(const std::byte* x, size_t tokens, size_t t) {
    for (size_t k = 0; k < kActivationGroup; ++k) {
      std::memcpy(codes + k, x + ActivationGroup::code(tokens, t, k), 1);
    }
    std::memcpy(sums, x + ActivationGroup::sums(tokens, t), sizeof sums);
    std::memcpy(&shift, x + ActivationGroup::shift(tokens, t), 4);
  }
};

// Product of `count` codes of a lane from value k on with activation codes x.
int32_t Dot(const Panel& panel, size_t lane, int bias, size_t k, size_t count, const int8_t* x) {
  int32_t dot = 0;
  for (size_t i = 0; i < count; ++i) {
    dot += (panel.codes[(k + i) / 4][lane][(k + i) % 4] - bias) * x[i];
  }
  return dot;
}

// A row's sums of a panel.
struct PanelSums {
  float product = 0, least = 0;
  int32_t dots = 0, mins = 0;

  // Adds group g.
  void Add(const Panel& panel, size_t lane, const PanelFormat& format, size_t g,
           const GroupOfToken& x) {
    const int32_t factor = 1 << x.shift;
    const size_t first = g * kActivationGroup, parts = kActivationGroup / format.scale_group;
    if (format.scaled) {
      dots += factor * Dot(panel, lane, format.bias, first, kActivationGroup, x.codes);
    }
    for (size_t part = 0; part < parts && !format.scaled; ++part) {
      const size_t k = part * format.scale_group;
      const int32_t dot = Dot(panel, lane, format.bias, first + k, format.scale_group, x.codes + k);
      const float scale = panel.scale[g * parts + part][lane];
      product = std::fma(static_cast<float>(factor * dot), scale, product);
    }
    if (format.minimums == PanelFormat::Minimums::kFloats) {
      const int32_t sum = factor * (x.sums[0] + x.sums[1]);
      least = std::fma(static_cast<float>(sum), panel.min[g][lane], least);
    }
    for (size_t half = 0; half < 2; ++half) {
      if (format.minimums != PanelFormat::Minimums::kCodes) continue;
      const size_t group = (first + half * kSumGroup) / format.scale_group;
      mins += factor * x.sums[half] * panel.min_codes[group / 2][lane][group % 2];
    }
  }
  // acc + these.
  float End(const Panel& panel, size_t lane, const PanelFormat& format, float unit,
            float acc) const {
    acc = format.scaled ? std::fma(static_cast<float>(dots) * unit, panel.scale[0][lane], acc)
                        : std::fma(product, unit, acc);
    if (format.minimums == PanelFormat::Minimums::kNone) return acc;
    if (format.minimums == PanelFormat::Minimums::kFloats) return std::fma(-least, unit, acc);
    return std::fma(-(static_cast<float>(mins) * unit), panel.min[0][lane], acc);
  }
};

// acc of `tokens` tokens += the products of `values` values; x: their first group.
void MultiplyBlock(const Panel* panels, const PanelFormat& format, size_t values,
                   const std::byte* x, size_t tokens, RowSums* acc) {
  for (size_t t = 0; t < tokens; ++t) {
    for (size_t row = 0; row < kRowTile; ++row) {
      const Panel& panel = panels[row / kPanelRows];
      const size_t lane = row % kPanelRows;
      PanelSums sums;
      for (size_t g = 0; g < values / kActivationGroup; ++g) {
        const GroupOfToken group(x + g * tokens * ActivationGroup::kBytesPerToken, tokens, t);
        sums.Add(panel, lane, format, g, group);
      }
      float unit;
      std::memcpy(&unit, x + ActivationGroup::unit(tokens, t), 4);
      acc[t].rows[row] = sums.End(panel, lane, format, unit, acc[t].rows[row]);
    }
  }
}

#else

constexpr size_t kLanes = hn::MaxLanes(DF());
// Vectors of rows that share an activation once it is loaded: as many as registers allow.
constexpr size_t kVectors = kLanes == 16 ? 2 : 1;

// Where a pass reads its rows: vector v of the pass.
struct PanelPart {
  const Panel* panels;
  size_t row;

  HWY_INLINE const Panel& panel(size_t v) const { return panels[(row + v * kLanes) / kPanelRows]; }
  HWY_INLINE size_t lane(size_t v) const { return (row + v * kLanes) % kPanelRows; }
  HWY_INLINE V32 Codes(size_t v, size_t quad) const {
    return hn::Load(D32(), reinterpret_cast<const uint32_t*>(&panel(v).codes[quad][lane(v)]));
  }
  HWY_INLINE VF Scale(size_t v, size_t group) const {
    return hn::Load(DF(), panel(v).scale[group] + lane(v));
  }
  HWY_INLINE VF Min(size_t v, size_t group) const {
    return hn::Load(DF(), panel(v).min[group] + lane(v));
  }
  HWY_INLINE VI MinCodes(size_t v, size_t pair) const {
    return hn::Load(DI(), reinterpret_cast<const int32_t*>(panel(v).min_codes[pair][lane(v)]));
  }
};

// A value of each token for each vector of rows.
template <class V, size_t kTokens>
using Tile = V[kVectors][kTokens];

template <size_t kTokens, class Use>
HWY_INLINE void EachOfTile(const Use& use) {
  Unroll<kTokens>([&](auto t) QUERN_INLINE_LAMBDA {
    Unroll<kVectors>([&](auto v) QUERN_INLINE_LAMBDA { use(v, t); });
  });
}

// Integer dot products over the scale group that starts at quad `quad` of the panel and at quad
// kQuad of the activation group at x.
template <size_t kTokens, size_t kGroup, size_t kQuad, bool kWide>
HWY_INLINE void DotGroup(const PanelPart& part, size_t quad, const std::byte* x, int bias,
                         Tile<VI, kTokens>& dots) {
  constexpr Half kHalf = kGroup == kActivationGroup ? Half::kBoth
                         : kQuad == 0               ? Half::kFirst
                                                    : Half::kSecond;
  Unroll<kTokens>([&](auto t) QUERN_INLINE_LAMBDA {
    const VI start = BiasStart<kHalf>(bias, x + ActivationGroup::sums(kTokens, t));
    Unroll<kVectors>([&](auto v) QUERN_INLINE_LAMBDA { dots[v][t] = start; });
  });
  Unroll<kGroup / 4>([&](auto i) QUERN_INLINE_LAMBDA {
    V32 w[kVectors];
    Unroll<kVectors>([&](auto v) QUERN_INLINE_LAMBDA { w[v] = part.Codes(v, quad + i); });
    Unroll<kTokens>([&](auto t) QUERN_INLINE_LAMBDA {
      const VI codes = Broadcast(x + ActivationGroup::code(kTokens, t, 4 * (kQuad + i)));
      Unroll<kVectors>([&](auto v) QUERN_INLINE_LAMBDA {
        dots[v][t] = DotQuads<kWide>(dots[v][t], w[v], codes);
      });
    });
  });
}

// sums[t] of the part's rows = append(v, t, sums[t]).
template <size_t kTokens, class Append>
HWY_INLINE void Update(const PanelPart& part, RowSums* sums, const Append& append) {
  EachOfTile<kTokens>([&](auto v, auto t) QUERN_INLINE_LAMBDA {
    float* at = sums[t].rows + part.row + v * kLanes;
    hn::Store(append(v, t, hn::Load(DF(), at)), DF(), at);
  });
}

template <size_t kTokens>
HWY_INLINE VF UnitOf(const std::byte* x, size_t t) {
  return BroadcastFloat(x + ActivationGroup::unit(kTokens, t));
}
template <size_t kTokens>
HWY_INLINE VI ShiftOf(const std::byte* x, size_t t) {
  return Broadcast(x + ActivationGroup::shift(kTokens, t));
}

template <size_t kTokens>
HWY_INLINE const std::byte* GroupAt(const std::byte* x, size_t g) {
  return x + g * kTokens * ActivationGroup::kBytesPerToken;
}

// acc += products of `values` values, which share a unit, for kVectors vectors of rows.
template <size_t kTokens, size_t kGroup, bool kWide>
HWY_INLINE void AddProducts(const PanelPart& part, size_t values, const std::byte* x, int bias,
                            RowSums* acc) {
  Tile<VF, kTokens> block;
  EachOfTile<kTokens>([&](auto v, auto t) QUERN_INLINE_LAMBDA { block[v][t] = hn::Zero(DF()); });
  const std::byte* group = x;
  for (size_t k = 0; k < values; k += kActivationGroup) {
    Unroll<kActivationGroup / kGroup>([&](auto g) QUERN_INLINE_LAMBDA {
      Tile<VI, kTokens> dots;
      DotGroup<kTokens, kGroup, g * kGroup / 4, kWide>(part, (k + g * kGroup) / 4, group, bias,
                                                       dots);
      VF scale[kVectors];
      Unroll<kVectors>([&](auto v)
                           QUERN_INLINE_LAMBDA { scale[v] = part.Scale(v, k / kGroup + g); });
      Unroll<kTokens>([&](auto t) QUERN_INLINE_LAMBDA {
        const VI shift = ShiftOf<kTokens>(group, t);
        Unroll<kVectors>([&](auto v) QUERN_INLINE_LAMBDA {
          const VF product = hn::ConvertTo(DF(), hn::Shl(dots[v][t], shift));
          block[v][t] = hn::MulAdd(product, scale[v], block[v][t]);
        });
      });
    });
    group += kTokens * ActivationGroup::kBytesPerToken;
  }
  Update<kTokens>(part, acc, [&](auto v, auto t, VF sum) HWY_ATTR {
    return hn::MulAdd(block[v][t], UnitOf<kTokens>(x, t), sum);
  });
}

// The same for the 256 values of a scaled panel.
template <size_t kTokens>
HWY_INLINE void AddScaledProducts(const PanelPart& part, const std::byte* x, int bias,
                                  RowSums* acc) {
  Tile<VI, kTokens> sums;
  EachOfTile<kTokens>([&](auto v, auto t) QUERN_INLINE_LAMBDA { sums[v][t] = hn::Zero(DI()); });
  for (size_t g = 0; g < kPanelValues / kActivationGroup; ++g) {
    const std::byte* group = GroupAt<kTokens>(x, g);
    Tile<VI, kTokens> dots;
    DotGroup<kTokens, kActivationGroup, 0, true>(part, g * kActivationGroup / 4, group, bias, dots);
    Unroll<kTokens>([&](auto t) QUERN_INLINE_LAMBDA {
      const VI shift = ShiftOf<kTokens>(group, t);
      Unroll<kVectors>([&](auto v) QUERN_INLINE_LAMBDA {
        sums[v][t] = hn::Add(sums[v][t], hn::Shl(dots[v][t], shift));
      });
    });
  }
  Update<kTokens>(part, acc, [&](auto v, auto t, VF sum) HWY_ATTR {
    const VF products = hn::Mul(hn::ConvertTo(DF(), sums[v][t]), UnitOf<kTokens>(x, t));
    return hn::MulAdd(products, part.Scale(v, 0), sum);
  });
}

template <size_t kTokens>
HWY_INLINE void Multiply(const PanelPart& part, const PanelFormat& format, size_t values,
                         const std::byte* x, RowSums* acc) {
  if (format.scaled) return AddScaledProducts<kTokens>(part, x, format.bias, acc);
  const auto add = [&](auto group) HWY_ATTR {
    if (HWY_TARGET == HWY_AVX2 && format.bias > 64) {  // elsewhere it makes no difference
      AddProducts<kTokens, group, true>(part, values, x, format.bias, acc);
    } else {
      AddProducts<kTokens, group, false>(part, values, x, format.bias, acc);
    }
  };
  if (format.scale_group == kSumGroup) return add(std::integral_constant<size_t, kSumGroup>());
  add(std::integral_constant<size_t, kActivationGroup>());
}

// acc -= minimums times sums of activation codes, for scale groups of 32.
template <size_t kTokens>
HWY_INLINE void SubtractFloats(const PanelPart& part, size_t values, const std::byte* x,
                               RowSums* acc) {
  Tile<VF, kTokens> least;
  EachOfTile<kTokens>([&](auto v, auto t) QUERN_INLINE_LAMBDA { least[v][t] = hn::Zero(DF()); });
  for (size_t g = 0; g < values / kActivationGroup; ++g) {
    const std::byte* group = GroupAt<kTokens>(x, g);
    Unroll<kTokens>([&](auto t) QUERN_INLINE_LAMBDA {
      const VI sum = CodeSum(group + ActivationGroup::sums(kTokens, t));
      const VF shifted = hn::ConvertTo(DF(), hn::Shl(sum, ShiftOf<kTokens>(group, t)));
      Unroll<kVectors>([&](auto v) QUERN_INLINE_LAMBDA {
        least[v][t] = hn::MulAdd(shifted, part.Min(v, g), least[v][t]);
      });
    });
  }
  Update<kTokens>(part, acc, [&](auto v, auto t, VF sum) HWY_ATTR {
    return hn::NegMulAdd(least[v][t], UnitOf<kTokens>(x, t), sum);
  });
}

// The same for minimums that have codes, and 256 values: a pair of scale groups in a step.
template <size_t kTokens, size_t kGroup>
HWY_INLINE void SubtractCodes(const PanelPart& part, const std::byte* x, RowSums* acc) {
  Tile<VI, kTokens> mins;
  EachOfTile<kTokens>([&](auto v, auto t) QUERN_INLINE_LAMBDA { mins[v][t] = hn::Zero(DI()); });
  for (size_t pair = 0; pair < kPanelValues / (2 * kGroup); ++pair) {
    const std::byte* group = GroupAt<kTokens>(x, pair * 2 * kGroup / kActivationGroup);
    EachOfTile<kTokens>([&](auto v, auto t) QUERN_INLINE_LAMBDA {
      const VI codes = part.MinCodes(v, pair);
      if constexpr (kGroup == kActivationGroup) {
        const VI sums = Broadcast(group + ActivationGroup::pair_sums(kTokens, t));
        mins[v][t] = DotPairs(mins[v][t], codes, sums);
      } else {
        const VI sums = Broadcast(group + ActivationGroup::sums(kTokens, t));
        const VI dot = DotPairs(hn::Zero(DI()), codes, sums);
        mins[v][t] = hn::Add(mins[v][t], hn::Shl(dot, ShiftOf<kTokens>(group, t)));
      }
    });
  }
  Update<kTokens>(part, acc, [&](auto v, auto t, VF sum) HWY_ATTR {
    const VF value = hn::Mul(hn::ConvertTo(DF(), mins[v][t]), UnitOf<kTokens>(x, t));
    return hn::NegMulAdd(value, part.Min(v, 0), sum);
  });
}

template <size_t kTokens>
HWY_INLINE void SubtractMinimums(const PanelPart& part, const PanelFormat& format, size_t values,
                                 const std::byte* x, RowSums* acc) {
  if (format.minimums == PanelFormat::Minimums::kNone) return;
  if (format.minimums == PanelFormat::Minimums::kFloats) {
    SubtractFloats<kTokens>(part, values, x, acc);
  } else if (format.scale_group == kSumGroup) {
    SubtractCodes<kTokens, kSumGroup>(part, x, acc);
  } else {
    SubtractCodes<kTokens, kActivationGroup>(part, x, acc);
  }
}

// Calls call(N) with a block's number of tokens as a constant.
template <class Call>
HWY_INLINE void WithTokens(size_t tokens, const Call& call) {
  switch (tokens) {
    case 8:
      return call(std::integral_constant<size_t, 8>());
    case 4:
      return call(std::integral_constant<size_t, 4>());
    case 2:
      return call(std::integral_constant<size_t, 2>());
    default:
      return call(std::integral_constant<size_t, 1>());
  }
}

// acc of `tokens` tokens += the products of `values` values; x: their first group.
void MultiplyBlock(const Panel* panels, const PanelFormat& format, size_t values,
                   const std::byte* x, size_t tokens, RowSums* acc) {
  WithTokens(tokens, [&](auto count) HWY_ATTR {
    for (size_t row = 0; row < kRowTile; row += kVectors * kLanes) {
      const PanelPart part{panels, row};
      Multiply<count>(part, format, values, x, acc);
      SubtractMinimums<count>(part, format, values, x, acc);
    }
  });
}

#endif

const char* InstructionSet() { return hwy::TargetName(HWY_TARGET); }

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace quern::kernels::cpu {

HWY_EXPORT(MultiplyBlock);
HWY_EXPORT(InstructionSet);

namespace {

// 16 rows of the tile, from the panel-th 16 on.
WeightTile sixteen_rows(const MatMulTile& tile, size_t panel) {
  const size_t bytes = tile.row_bytes == WeightTile::kPacked
                           ? packed_tile_bytes(tile.format, tile.values)
                           : kPanelRows * tile.row_bytes;
  return {tile.weights + panel * bytes, tile.row_bytes};
}

// Values k … k + values - 1 of mapped rows, copied together; rows past `rows` are zero bytes.
WeightTile copy_rows(const gguf::FormatInfo& format, const WeightTile& tile, size_t rows, size_t k,
                     size_t values, std::byte* copies) {
  const size_t stride = format.row_bytes(values);
  std::memset(copies, 0, kPanelRows * stride);
  for (size_t r = 0; r < rows; ++r) {
    std::memcpy(copies + r * stride, tile.bytes + r * tile.stride + format.row_bytes(k), stride);
  }
  return {copies, stride};
}

// Unpacks values k … k + values - 1 of up to 16 rows.
void unpack(const MatMulTile& tile, size_t panel, size_t k, size_t values, Scratch& scratch) {
  const gguf::FormatInfo& format = gguf::info(tile.format);
  WeightTile rows = sixteen_rows(tile, panel);
  const size_t count = std::min(kPanelRows, tile.rows - panel * kPanelRows);
  if (count < kPanelRows && rows.stride != WeightTile::kPacked) {
    rows = copy_rows(format, rows, count, k, values, scratch.row_copies);
    k = 0;
  }
  unpack_product_panel(tile.format, rows, k, values, scratch.panels[panel]);
}

// Calls call(first token, tokens, activations from value k on) for every block of tokens.
template <class Call>
void each_block(const MatMulTile& tile, size_t k, const Call& call) {
  const size_t row_bytes = QuantizedLayout{tile.values}.row_bytes();
  for (size_t t = 0, tokens; t < tile.tokens; t += tokens) {
    tokens = QuantizedLayout::block_tokens(t, tile.tokens);
    call(t, tokens,
         tile.quantized + t * row_bytes +
             k / kActivationGroup * tokens * ActivationGroup::kBytesPerToken);
  }
}

void multiply_panels(const MatMulTile& tile, std::byte* scratch) {
  auto& work = *reinterpret_cast<Scratch*>(scratch);
  auto* acc = reinterpret_cast<RowSums*>(tile.out);
  const PanelFormat format = PanelFormat::of(tile.format);
  std::fill_n(acc, tile.tokens, RowSums{});
  for (size_t k = 0; k < tile.values; k += kPanelValues) {
    const size_t values = std::min(kPanelValues, tile.values - k);
    for (size_t panel = 0; panel * kPanelRows < tile.rows; ++panel) {
      unpack(tile, panel, k, values, work);
    }
    each_block(tile, k, [&](size_t t, size_t tokens, const std::byte* x) {
      HWY_DYNAMIC_DISPATCH(MultiplyBlock)(work.panels, format, values, x, tokens, acc + t);
    });
  }
}

}  // namespace

void matmul_quantized(const MatMulTile& tile, std::byte* scratch) {
  const FormatKernels kernels = format_kernels(tile.format);
  const bool whole = tile.row_bytes == WeightTile::kPacked || tile.rows % kPanelRows == 0;
  if (tile.tokens > 2 || !kernels.gemv || !whole) return multiply_panels(tile, scratch);
  for (size_t row = 0; row < tile.rows; row += kPanelRows) {
    kernels.gemv(sixteen_rows(tile, row / kPanelRows), tile.quantized, tile.tokens, tile.values,
                 tile.out + row);
  }
}

size_t quantized_scratch_bytes() { return sizeof(Scratch); }

const char* instruction_set() { return HWY_DYNAMIC_DISPATCH(InstructionSet)(); }

}  // namespace quern::kernels::cpu
#endif
