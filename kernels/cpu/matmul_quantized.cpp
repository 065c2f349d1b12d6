// Integer kernels of all quantized formats. One token goes straight through the format's own gemv;
// for several, 32 weight rows are unpacked to panels, 256 values at a time, and multiplied with all
// tokens. Lane = weight row; the order of additions is that of reference::dot_quantized.
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

// Minimums of this many values are added at once: the sums then stay in registers for long.
inline constexpr size_t kMinimumValues = 2048;
struct Minimums {
  alignas(64) float rows[kMinimumValues / kActivationGroup][kRowTile];  // per group of 32 values
};

// What a tile works in; the minimums of all tokens follow it.
struct Scratch {
  Panel panels[kPanels];
  Minimums minimums;
  alignas(64) std::byte row_copies[kPanelRows * 288];  // 256 values of any format
};

// A panel product: what the kernels need to know of the format.
struct PanelFormat {
  size_t scale_group;  // 256: a scaled panel
  int bias;
  bool minimum;

  static PanelFormat of(gguf::Format format) {
    if (scales_codes(format)) return {kPanelValues, scaled_bias(format), has_minimum(format)};
    return {gguf::info(format).scale_group, code_bias(format), has_minimum(format)};
  }
  bool scaled() const { return scale_group == kPanelValues; }
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

// A row's sums of a unit.
struct UnitSums {
  float product = 0;
  int32_t dots = 0, mins = 0;  // of a scaled panel

  // Adds group g.
  void Add(const Panel& panel, size_t lane, const PanelFormat& format, size_t g,
           const GroupOfToken& x) {
    for (size_t k = 0; k < kActivationGroup; k += format.scale_group) {
      const int32_t dot =
          Dot(panel, lane, format.bias, g * kActivationGroup + k, format.scale_group, x.codes + k) *
          (1 << x.shift);
      const float scale = panel.scale[(g * kActivationGroup + k) / format.scale_group][lane];
      product = std::fma(static_cast<float>(dot), scale, product);
    }
  }
  void AddScaled(const Panel& panel, size_t lane, const PanelFormat& format, size_t g,
                 const GroupOfToken& x) {
    const size_t k = g * kActivationGroup;
    dots += Dot(panel, lane, format.bias, k, kActivationGroup, x.codes) * (1 << x.shift);
    if (!format.minimum) return;
    const int16_t* codes = panel.min_codes[g][lane];
    mins += (codes[0] * x.sums[0] + codes[1] * x.sums[1]) * (1 << x.shift);
  }
  // Appends the unit to a row's chains.
  void End(const Panel& panel, size_t lane, const PanelFormat& format, float unit, float& acc,
           float& min) const {
    if (!format.scaled()) {
      acc = std::fma(product, unit, acc);
    } else {
      acc = std::fma(static_cast<float>(dots) * unit, panel.scale[0][lane], acc);
      if (format.minimum) {
        min = std::fma(static_cast<float>(mins) * unit, panel.min[0][lane], min);
      }
    }
  }
};

// acc (of scaled panels also mins) of `tokens` tokens += the products of `values` values; x: their
// first group.
void MultiplyBlock(const Panel* panels, const PanelFormat& format, size_t values,
                   const std::byte* x, size_t tokens, RowSums* acc, RowSums* mins) {
  for (size_t t = 0; t < tokens; ++t) {
    for (size_t row = 0; row < kRowTile; ++row) {
      const Panel& panel = panels[row / kPanelRows];
      const size_t lane = row % kPanelRows;
      UnitSums sums;
      for (size_t g = 0; g < values / kActivationGroup; ++g) {
        const GroupOfToken group(x + g * tokens * ActivationGroup::kBytesPerToken, tokens, t);
        if (format.scaled()) {
          sums.AddScaled(panel, lane, format, g, group);
        } else {
          sums.Add(panel, lane, format, g, group);
        }
      }
      float unit;
      std::memcpy(&unit, x + ActivationGroup::unit(tokens, t), 4);
      sums.End(panel, lane, format, unit, acc[t].rows[row], mins[t].rows[row]);
    }
  }
}

// mins of `tokens` tokens += minimums times sums of activations; x: the first of `groups` groups.
void AddMinimums(const Minimums& minimums, size_t groups, const std::byte* x, size_t tokens,
                 RowSums* mins) {
  for (size_t g = 0; g < groups; ++g, x += tokens * ActivationGroup::kBytesPerToken) {
    for (size_t t = 0; t < tokens; ++t) {
      float sum;
      std::memcpy(&sum, x + ActivationGroup::scaled_sum(tokens, t), sizeof sum);
      for (size_t row = 0; row < kRowTile; ++row) {
        mins[t].rows[row] = std::fma(minimums.rows[g][row], sum, mins[t].rows[row]);
      }
    }
  }
}

// y -= x.
void Subtract(const float* x, size_t count, float* y) {
  for (size_t i = 0; i < count; ++i) y[i] -= x[i];
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
  HWY_INLINE VI MinCodes(size_t v, size_t group) const {
    return hn::Load(DI(), reinterpret_cast<const int32_t*>(panel(v).min_codes[group][lane(v)]));
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

// mins += minimums times sums of activations over `groups` groups.
template <size_t kTokens>
void AddMinimumsOf(const Minimums& minimums, size_t groups, const std::byte* x, RowSums* mins) {
  const DF d;
  for (size_t row = 0; row < kRowTile; row += kVectors * kLanes) {
    VF sums[kVectors][kTokens];
    Unroll<kTokens>([&](auto t) QUERN_INLINE_LAMBDA {
      Unroll<kVectors>([&](auto v) QUERN_INLINE_LAMBDA {
        sums[v][t] = hn::Load(d, mins[t].rows + row + v * kLanes);
      });
    });
    const std::byte* at = x;
    for (size_t g = 0; g < groups; ++g, at += kTokens * ActivationGroup::kBytesPerToken) {
      VF min[kVectors];
      Unroll<kVectors>([&](auto v) QUERN_INLINE_LAMBDA {
        min[v] = hn::Load(d, minimums.rows[g] + row + v * kLanes);
      });
      Unroll<kTokens>([&](auto t) QUERN_INLINE_LAMBDA {
        const VF sum = BroadcastFloat(at + ActivationGroup::scaled_sum(kTokens, t));
        Unroll<kVectors>(
            [&](auto v) QUERN_INLINE_LAMBDA { sums[v][t] = hn::MulAdd(min[v], sum, sums[v][t]); });
      });
    }
    Unroll<kTokens>([&](auto t) QUERN_INLINE_LAMBDA {
      Unroll<kVectors>([&](auto v) QUERN_INLINE_LAMBDA {
        hn::Store(sums[v][t], d, mins[t].rows + row + v * kLanes);
      });
    });
  }
}

template <size_t kTokens, size_t kGroup>
void MultiplyTokens(const Panel* panels, const PanelFormat& format, size_t values,
                    const std::byte* x, RowSums* acc) {
  for (size_t row = 0; row < kRowTile; row += kVectors * kLanes) {
    const PanelPart part{panels, row};
    if (HWY_TARGET == HWY_AVX2 && format.bias > 64) {  // elsewhere it makes no difference
      AddProducts<kTokens, kGroup, true>(part, values, x, format.bias, acc);
    } else {
      AddProducts<kTokens, kGroup, false>(part, values, x, format.bias, acc);
    }
  }
}

// sums += f32(Σ integer(v, t) << shift_t) * unit_t * scale(v) over the groups of 256 values.
// integers(g, group, out) computes those of group g.
template <size_t kTokens, class Integers, class Scale>
HWY_INLINE void AddScaledBlock(const PanelPart& part, const std::byte* x, const Integers& integers,
                               const Scale& scale, RowSums* sums) {
  Tile<VI, kTokens> block;
  EachOfTile<kTokens>([&](auto v, auto t) QUERN_INLINE_LAMBDA { block[v][t] = hn::Zero(DI()); });
  for (size_t g = 0; g < kPanelValues / kActivationGroup; ++g) {
    const std::byte* group = x + g * kTokens * ActivationGroup::kBytesPerToken;
    Tile<VI, kTokens> values;
    integers(g, group, values);
    Unroll<kTokens>([&](auto t) QUERN_INLINE_LAMBDA {
      const VI shift = ShiftOf<kTokens>(group, t);
      Unroll<kVectors>([&](auto v) QUERN_INLINE_LAMBDA {
        block[v][t] = hn::Add(block[v][t], hn::Shl(values[v][t], shift));
      });
    });
  }
  Update<kTokens>(part, sums, [&](auto v, auto t, VF sum) HWY_ATTR {
    const VF value = hn::Mul(hn::ConvertTo(DF(), block[v][t]), UnitOf<kTokens>(x, t));
    return hn::MulAdd(value, scale(v), sum);
  });
}

// The products of a scaled panel: 256 values.
template <size_t kTokens>
void MultiplyScaled(const Panel* panels, const PanelFormat& format, const std::byte* x,
                    RowSums* acc, RowSums* mins) {
  for (size_t row = 0; row < kRowTile; row += kVectors * kLanes) {
    const PanelPart part{panels, row};
    const auto products = [&](size_t g, const std::byte* group, auto& dots) HWY_ATTR {
      DotGroup<kTokens, kActivationGroup, 0, true>(part, g * kActivationGroup / 4, group,
                                                   format.bias, dots);
    };
    const auto minimums = [&](size_t g, const std::byte* group, auto& dots) HWY_ATTR {
      EachOfTile<kTokens>([&](auto v, auto t) QUERN_INLINE_LAMBDA {
        const VI sums = Broadcast(group + ActivationGroup::sums(kTokens, t));
        dots[v][t] = DotPairs(hn::Zero(DI()), part.MinCodes(v, g), sums);
      });
    };
    AddScaledBlock<kTokens>(
        part, x, products, [&](auto v) HWY_ATTR { return part.Scale(v, 0); }, acc);
    if (!format.minimum) continue;
    AddScaledBlock<kTokens>(
        part, x, minimums, [&](auto v) HWY_ATTR { return part.Min(v, 0); }, mins);
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

// acc (of scaled panels also mins) of `tokens` tokens += the products of `values` values; x: their
// first group.
void MultiplyBlock(const Panel* panels, const PanelFormat& format, size_t values,
                   const std::byte* x, size_t tokens, RowSums* acc, RowSums* mins) {
  WithTokens(tokens, [&](auto count) HWY_ATTR {
    if (format.scaled()) {
      MultiplyScaled<count>(panels, format, x, acc, mins);
    } else if (format.scale_group == kActivationGroup) {
      MultiplyTokens<count, kActivationGroup>(panels, format, values, x, acc);
    } else {
      MultiplyTokens<count, kSumGroup>(panels, format, values, x, acc);
    }
  });
}

// mins of `tokens` tokens += minimums times sums of activations; x: the first of `groups` groups.
void AddMinimums(const Minimums& minimums, size_t groups, const std::byte* x, size_t tokens,
                 RowSums* mins) {
  WithTokens(tokens, [&](auto count) HWY_ATTR { AddMinimumsOf<count>(minimums, groups, x, mins); });
}

// y -= x; both 64-byte aligned, count: a multiple of kRowTile.
void Subtract(const float* x, size_t count, float* y) {
  const DF d;
  for (size_t i = 0; i < count; i += kLanes) {
    hn::Store(hn::Sub(hn::Load(d, y + i), hn::Load(d, x + i)), d, y + i);
  }
}

#endif

const char* InstructionSet() { return hwy::TargetName(HWY_TARGET); }

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace quern::kernels::cpu {

HWY_EXPORT(MultiplyBlock);
HWY_EXPORT(AddMinimums);
HWY_EXPORT(Subtract);
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

// Keeps the minimums of values k … k + values - 1, and adds them once there are kMinimumValues, or
// all.
void add_minimums(const MatMulTile& tile, size_t k, size_t values, Scratch& work, RowSums* mins) {
  const size_t first = k % kMinimumValues / kActivationGroup, count = values / kActivationGroup;
  for (size_t g = 0; g < count; ++g) {
    for (size_t panel = 0; panel < kPanels; ++panel) {
      std::memcpy(work.minimums.rows[first + g] + panel * kPanelRows, work.panels[panel].min[g],
                  sizeof work.panels[panel].min[g]);
    }
  }
  if (k + values < tile.values && (k + values) % kMinimumValues != 0) return;
  each_block(tile, k / kMinimumValues * kMinimumValues,
             [&](size_t t, size_t tokens, const std::byte* x) {
               HWY_DYNAMIC_DISPATCH(AddMinimums)
               (work.minimums, first + count, x, tokens, mins + t);
             });
}

void multiply_panels(const MatMulTile& tile, std::byte* scratch) {
  auto& work = *reinterpret_cast<Scratch*>(scratch);
  auto* acc = reinterpret_cast<RowSums*>(tile.out);
  auto* mins = reinterpret_cast<RowSums*>(scratch + sizeof(Scratch));
  const PanelFormat format = PanelFormat::of(tile.format);
  std::fill_n(acc, tile.tokens, RowSums{});
  if (format.minimum) std::fill_n(mins, tile.tokens, RowSums{});
  for (size_t k = 0; k < tile.values; k += kPanelValues) {
    const size_t values = std::min(kPanelValues, tile.values - k);
    for (size_t panel = 0; panel * kPanelRows < tile.rows; ++panel) {
      unpack(tile, panel, k, values, work);
    }
    each_block(tile, k, [&](size_t t, size_t tokens, const std::byte* x) {
      HWY_DYNAMIC_DISPATCH(MultiplyBlock)
      (work.panels, format, values, x, tokens, acc + t, mins + t);
    });
    if (format.minimum && !format.scaled()) add_minimums(tile, k, values, work, mins);
  }
  if (format.minimum) HWY_DYNAMIC_DISPATCH(Subtract)(mins->rows, tile.tokens * kRowTile, tile.out);
}

}  // namespace

void matmul_quantized(const MatMulTile& tile, std::byte* scratch) {
  const FormatKernels kernels = format_kernels(tile.format);
  const bool whole = tile.row_bytes == WeightTile::kPacked || tile.rows % kPanelRows == 0;
  if (tile.tokens > 1 || !kernels.gemv || !whole) return multiply_panels(tile, scratch);
  for (size_t row = 0; row < tile.rows; row += kPanelRows) {
    kernels.gemv(sixteen_rows(tile, row / kPanelRows), tile.quantized, tile.values, tile.out + row);
  }
}

size_t quantized_scratch_bytes(size_t tokens) { return sizeof(Scratch) + tokens * sizeof(RowSums); }

const char* instruction_set() { return HWY_DYNAMIC_DISPATCH(InstructionSet)(); }

}  // namespace quern::kernels::cpu
#endif
