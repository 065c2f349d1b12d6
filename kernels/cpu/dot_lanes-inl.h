// The integer arithmetic of the kernels: a 32-bit lane holds four codes of one weight row, which
// meet the same four activation codes in every lane.
#if defined(QUERN_DOT_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef QUERN_DOT_LANES_INL_H_
#undef QUERN_DOT_LANES_INL_H_
#else
#define QUERN_DOT_LANES_INL_H_
#endif

#include <hwy/highway.h>

#include <cstring>

#include "kernels/cpu/activations.h"
#include "kernels/cpu/panel.h"

// Highway's AVX3_DL is Ice Lake, which has VNNI, but its list of features leaves VNNI out. BF16
// came after Ice Lake: only formats/bf16.cpp uses it, where the machine has it.
#if HWY_TARGET == HWY_AVX3_DL
#undef HWY_TARGET_STR
#define HWY_TARGET_STR                                                                       \
  HWY_TARGET_STR_AVX3                                                                        \
  ",vpclmulqdq,avx512vbmi,avx512vbmi2,vaes,avxvnni,avx512bitalg,avx512vpopcntdq,avx512vnni," \
  "avx512bf16"
#endif

#if HWY_TARGET != HWY_SCALAR
HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D32 = hn::CappedTag<uint32_t, kPanelRows>;
using V32 = hn::Vec<D32>;
using DI = hn::RebindToSigned<D32>;
using VI = hn::Vec<DI>;
using DF = hn::CappedTag<float, kPanelRows>;
using VF = hn::Vec<DF>;

// Calls body(0), …, body(N - 1) with constants, so that arrays that it indexes stay in registers.
template <size_t N, size_t kFirst = 0, class Body>
HWY_INLINE void Unroll(const Body& body) {
  if constexpr (kFirst < N) {
    body(std::integral_constant<size_t, kFirst>());
    Unroll<N, kFirst + 1>(body);
  }
}
#define QUERN_INLINE_LAMBDA HWY_ATTR __attribute__((always_inline))

// The 32 bits at `at`, in every lane.
HWY_INLINE VI Broadcast(const std::byte* at) {
  int32_t word;
  std::memcpy(&word, at, sizeof word);
  return hn::Set(DI(), word);
}
HWY_INLINE VF BroadcastFloat(const std::byte* at) {
  float value;
  std::memcpy(&value, at, sizeof value);
  return hn::Set(DF(), value);
}

// sum + a0 * b0 + a1 * b1 over the int16 pairs of each lane.
HWY_INLINE VI DotPairs(VI sum, VI a, VI b) {
#if HWY_TARGET == HWY_AVX3_DL
  return VI{_mm512_dpwssd_epi32(sum.raw, a.raw, b.raw)};
#else
  const hn::Repartition<int16_t, DI> d16;
  VI rest = hn::Zero(DI());  // on x86 the whole sum is in the returned vector
  sum = hn::ReorderWidenMulAccumulate(DI(), hn::BitCast(d16, a), hn::BitCast(d16, b), sum, rest);
  return hn::Add(sum, rest);
#endif
}

// sum + Σ_j w[j] * x[j] over the four bytes of each lane; w unsigned, x signed and not -128. kWide:
// some w may exceed 127.
template <bool kWide>
HWY_INLINE VI DotQuads(VI sum, V32 w, VI x) {
#if HWY_TARGET == HWY_AVX3_DL
  return VI{_mm512_dpbusd_epi32(sum.raw, w.raw, x.raw)};
#else
  const hn::Repartition<int16_t, DI> d16;
#if HWY_TARGET == HWY_AVX2
  if constexpr (!kWide) {  // a sum of two products fits 16 bits: 2 * 127 * 127
    const VI pairs{_mm256_maddubs_epi16(w.raw, x.raw)};
    return DotPairs(sum, pairs, hn::BitCast(DI(), hn::Set(d16, 1)));
  }
#endif
  // Widened to 16 bits, even and odd bytes apart.
  const auto x16 = hn::BitCast(d16, x);
  const VI x_even = hn::BitCast(DI(), hn::ShiftRight<8>(hn::ShiftLeft<8>(x16)));
  const VI x_odd = hn::BitCast(DI(), hn::ShiftRight<8>(x16));
  const hn::Repartition<uint16_t, DI> d16u;
  const auto w16 = hn::BitCast(d16u, w);
  const VI w_even = hn::BitCast(DI(), hn::And(w16, hn::Set(d16u, 0x00FF)));
  const VI w_odd = hn::BitCast(DI(), hn::ShiftRight<8>(w16));
  return DotPairs(DotPairs(sum, w_even, x_even), w_odd, x_odd);
#endif
}

// Sum of the 32 codes of an ActivationGroup, whose `sums` are here.
HWY_INLINE VI CodeSum(const std::byte* at) {
  return DotPairs(hn::Zero(DI()), hn::Set(DI(), 0x00010001), Broadcast(at));
}

// Minus the bias times the sum of activation codes: where the dot product of a scale group starts.
// `at`: the sums of an ActivationGroup; kHalf: which of its two groups of 16, or both.
enum class Half { kFirst, kSecond, kBoth };
template <Half kHalf>
HWY_INLINE VI BiasStart(int bias, const std::byte* at) {
  if (bias == 0) return hn::Zero(DI());
  const int first = kHalf == Half::kSecond ? 0 : -bias & 0xFFFF;
  const int second =
      kHalf == Half::kFirst ? 0 : static_cast<int>(static_cast<uint32_t>(-bias) << 16);
  return DotPairs(hn::Zero(DI()), hn::Set(DI(), first | second), Broadcast(at));
}

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
#endif
