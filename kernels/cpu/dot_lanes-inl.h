// The integer dot product of a panel's codes with activation codes, four values per 32-bit lane,
// and the form in which it wants the activations.
#if defined(QUERN_DOT_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef QUERN_DOT_LANES_INL_H_
#undef QUERN_DOT_LANES_INL_H_
#else
#define QUERN_DOT_LANES_INL_H_
#endif

#include <hwy/highway.h>

#include <cstring>

#include "kernels/cpu/panel.h"

// Highway's AVX3_DL is Ice Lake, which has VNNI, but its list of features leaves VNNI out.
#if HWY_TARGET == HWY_AVX3_DL
#undef HWY_TARGET_STR
#define HWY_TARGET_STR \
  HWY_TARGET_STR_AVX3  \
  ",vpclmulqdq,avx512vbmi,avx512vbmi2,vaes,avxvnni,avx512bitalg,avx512vpopcntdq,avx512vnni"
#endif

#if HWY_TARGET != HWY_SCALAR
HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D32 = hn::CappedTag<uint32_t, kPanelRows>;
using V32 = hn::Vec<D32>;
using DI = hn::RebindToSigned<D32>;
using VI = hn::Vec<DI>;

#if HWY_TARGET == HWY_AVX3_DL

// One token's codes of 256 values: as they are.
struct DotCodes {
  alignas(64) int8_t codes[kPanelValues];

  HWY_INLINE void Set(const int8_t* from, size_t values) { std::memcpy(codes, from, values); }
};

// sum + Σ_j w[j] * x[4 * index + j], w unsigned, per lane.
HWY_INLINE VI DotAccumulate(VI sum, V32 w, const DotCodes& x, size_t index) {
  int32_t four;
  std::memcpy(&four, x.codes + 4 * index, sizeof four);
  return VI{_mm512_dpbusd_epi32(sum.raw, w.raw, _mm512_set1_epi32(four))};
}

#else

// Without VNNI, bytes are widened to 16 bits: even and odd ones apart, which needs no shuffle.
struct DotCodes {
  alignas(64) int16_t even[kPanelValues / 2];
  alignas(64) int16_t odd[kPanelValues / 2];

  HWY_INLINE void Set(const int8_t* from, size_t values) {
    for (size_t i = 0; i < values / 2; ++i) {
      even[i] = from[2 * i];
      odd[i] = from[2 * i + 1];
    }
  }
};

HWY_INLINE VI DotAccumulate(VI sum, V32 w, const DotCodes& x, size_t index) {
  const DI di;
  const hn::Repartition<int16_t, DI> d16;
  int32_t even, odd;
  std::memcpy(&even, x.even + 2 * index, sizeof even);
  std::memcpy(&odd, x.odd + 2 * index, sizeof odd);
  const auto w_even = hn::BitCast(d16, hn::And(w, hn::Set(D32(), 0x00FF00FF)));
  const auto w_odd =
      hn::BitCast(d16, hn::ShiftRight<8>(hn::BitCast(hn::Repartition<uint16_t, DI>(), w)));
  VI unused = hn::Zero(di);  // on x86 the whole sum is in the returned vector
  sum = hn::ReorderWidenMulAccumulate(di, w_even, hn::BitCast(d16, hn::Set(di, even)), sum, unused);
  sum = hn::ReorderWidenMulAccumulate(di, w_odd, hn::BitCast(d16, hn::Set(di, odd)), sum, unused);
  return hn::Add(sum, unused);
}

#endif

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
#endif
