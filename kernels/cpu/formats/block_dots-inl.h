// Decode: the products of an unpacked block with the activations of one or two tokens, and the
// chains that they end in. An Unpacker (unpacker-inl.h) hands it codes and scales.
#if defined(QUERN_FORMATS_BLOCK_DOTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef QUERN_FORMATS_BLOCK_DOTS_INL_H_
#undef QUERN_FORMATS_BLOCK_DOTS_INL_H_
#else
#define QUERN_FORMATS_BLOCK_DOTS_INL_H_
#endif

#include <hwy/highway.h>

#include "kernels/cpu/dot_lanes-inl.h"

#if HWY_TARGET != HWY_SCALAR
HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

// Has the compiler compute `v` here, between the requests for lines, not after all of them.
HWY_INLINE void KeepOrder(VI& v) {
#if HWY_ARCH_X86
  asm volatile("" : "+v"(v.raw));
#else
  (void)v;
#endif
}

// The chains of a vector of rows: see reference::dot_quantized.
struct Chains {
  VF acc;
  VF block, least;  // of the current 256 values

  HWY_INLINE Chains() : acc(hn::Zero(DF())), block(acc), least(acc) {}
};

// Multiplies an unpacked block with the activations of a block of kTokens tokens; `x`: the
// ActivationGroups of these values.
template <gguf::Format F, size_t kTokens>
class BlockDots {
 public:
  HWY_INLINE explicit BlockDots(const std::byte* x) : x_(x) {
    Unroll<kTokens>([&](auto t) QUERN_INLINE_LAMBDA {
      Unroll<kGroups>([&](auto g) QUERN_INLINE_LAMBDA {
        constexpr Half kHalf = kGroup == kActivationGroup ? Half::kBoth
                               : g % 2 == 0               ? Half::kFirst
                                                          : Half::kSecond;
        const std::byte* sums = Group(g * kGroup) + ActivationGroup::sums(kTokens, t);
        dots_[t][g] = BiasStart<kHalf>(kBias, sums);
      });
    });
  }

  HWY_INLINE void Codes(size_t k, V32 biased) {
    Unroll<kTokens>([&](auto t) QUERN_INLINE_LAMBDA {
      VI& dot = dots_[t][k / kGroup];
      const std::byte* at = Group(k) + ActivationGroup::code(kTokens, t, k % kActivationGroup);
      dot = DotQuads<(kBias > 64)>(dot, biased, Broadcast(at));
      KeepOrder(dot);
    });
  }
  HWY_INLINE void Scale(size_t group, VF scale) { scales_[group] = scale; }
  HWY_INLINE void Min(size_t group, VF min) { mins_[group] = min; }
  HWY_INLINE void ScaleCode(size_t group, VF d, VI code) {
    scales_[0] = d;
    scale_codes_[group] = code;
  }
  HWY_INLINE void MinPair(size_t pair, VF dmin, VI codes) {
    mins_[0] = dmin;
    min_pairs_[pair] = codes;
  }

  // Appends the block to the chains of its rows.
  HWY_INLINE void AddTo(Chains (&chains)[kTokens]) const {
    if constexpr (scales_codes(F)) return;
    Unroll<kTokens>([&](auto t) QUERN_INLINE_LAMBDA { AddFloats(t, chains[t]); });
  }

  // Ends 256 values, of which this is the last block.
  HWY_INLINE void EndUnit(Chains (&chains)[kTokens]) const {
    Unroll<kTokens>([&](auto t) QUERN_INLINE_LAMBDA { EndUnitOf(t, chains[t]); });
  }

 private:
  using Traits = gguf::Traits<F>;
  static constexpr int kBias = code_bias(F);
  static constexpr size_t kGroup = Traits::kScaleGroup;
  static constexpr size_t kGroups = Traits::kValues / kGroup;
  static_assert(kGroup == kActivationGroup || !has_minimum(F) || scales_codes(F));

  // The activation group of value k.
  HWY_INLINE const std::byte* Group(size_t k) const {
    return x_ + k / kActivationGroup * kTokens * ActivationGroup::kBytesPerToken;
  }
  static HWY_INLINE VI Shift(const std::byte* group, size_t t) {
    return Broadcast(group + ActivationGroup::shift(kTokens, t));
  }

  HWY_INLINE void AddFloats(size_t t, Chains& chains) const {
    Unroll<Traits::kValues / kActivationGroup>([&](auto g) QUERN_INLINE_LAMBDA {
      const std::byte* group = Group(g * kActivationGroup);
      const VI shift = Shift(group, t);
      constexpr size_t kParts = kActivationGroup / kGroup;
      Unroll<kParts>([&](auto part) QUERN_INLINE_LAMBDA {
        constexpr size_t i = g * kParts + part;
        const VF product = hn::ConvertTo(DF(), hn::Shl(dots_[t][i], shift));
        chains.block = hn::MulAdd(product, scales_[i], chains.block);
      });
      if constexpr (has_minimum(F) && !codes_minimums(F)) {
        const VI sum = CodeSum(group + ActivationGroup::sums(kTokens, t));
        const VF shifted = hn::ConvertTo(DF(), hn::Shl(sum, shift));
        chains.least = hn::MulAdd(shifted, mins_[g], chains.least);
      }
    });
  }

  HWY_INLINE void EndUnitOf(size_t t, Chains& chains) const {
    const DF d;
    const VF unit = BroadcastFloat(x_ + ActivationGroup::unit(kTokens, t));
    if constexpr (scales_codes(F)) {
      const VF products = hn::ConvertTo(d, ScaledProducts(t));
      chains.acc = hn::MulAdd(hn::Mul(products, unit), scales_[0], chains.acc);
    } else {
      chains.acc = hn::MulAdd(chains.block, unit, chains.acc);
    }
    if constexpr (codes_minimums(F)) {
      const VF sums = hn::ConvertTo(d, ScaledMinimums(t));
      chains.acc = hn::NegMulAdd(hn::Mul(sums, unit), mins_[0], chains.acc);
    } else if constexpr (has_minimum(F)) {
      chains.acc = hn::NegMulAdd(chains.least, unit, chains.acc);
    }
    chains.block = chains.least = hn::Zero(d);
  }

  // Sums over all 256 values of a block.
  HWY_INLINE VI ScaledProducts(size_t t) const {
    static_assert(Traits::kValues == kUnitValues || !scales_codes(F));
    VI sum = hn::Zero(DI());
    Unroll<kGroups / 2>([&](auto g) QUERN_INLINE_LAMBDA {
      const VI product = hn::Add(hn::Mul(dots_[t][2 * g], scale_codes_[2 * g]),
                                 hn::Mul(dots_[t][2 * g + 1], scale_codes_[2 * g + 1]));
      sum = hn::Add(sum, hn::Shl(product, Shift(Group(g * kActivationGroup), t)));
    });
    return sum;
  }
  HWY_INLINE VI ScaledMinimums(size_t t) const {
    static_assert(Traits::kValues == kUnitValues || !codes_minimums(F));
    VI sum = hn::Zero(DI());
    Unroll<kGroups / 2>([&](auto i) QUERN_INLINE_LAMBDA {
      const std::byte* group = Group(i * 2 * kGroup);
      if constexpr (kGroup == kActivationGroup) {
        const VI sums = Broadcast(group + ActivationGroup::pair_sums(kTokens, t));
        sum = DotPairs(sum, min_pairs_[i], sums);
      } else {
        const VI codes = Broadcast(group + ActivationGroup::sums(kTokens, t));
        const VI dot = DotPairs(hn::Zero(DI()), min_pairs_[i], codes);
        sum = hn::Add(sum, hn::Shl(dot, Shift(group, t)));
      }
    });
    return sum;
  }

  const std::byte* x_;
  VI dots_[kTokens][kGroups];
  VF scales_[kGroups];
  VF mins_[kGroups];
  VI scale_codes_[kGroups];
  VI min_pairs_[(kGroups + 1) / 2];
};

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
#endif
