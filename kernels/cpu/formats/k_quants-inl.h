// What the K-quants share (spec: block formats, section 5).
#if defined(QUERN_FORMATS_K_QUANTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef QUERN_FORMATS_K_QUANTS_INL_H_
#undef QUERN_FORMATS_K_QUANTS_INL_H_
#else
#define QUERN_FORMATS_K_QUANTS_INL_H_
#endif

#include "kernels/cpu/formats/unpacker-inl.h"

#if HWY_TARGET != HWY_SCALAR
HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

// Scales d * byte of four groups from `group` on.
template <class To>
HWY_INLINE void StoreScales(VF d, V32 bytes, size_t group, To& out) {
  out.Scale(group, hn::Mul(d, ToFloat(Byte<0>(bytes))));
  out.Scale(group + 1, hn::Mul(d, ToFloat(Byte<1>(bytes))));
  out.Scale(group + 2, hn::Mul(d, ToFloat(Byte<2>(bytes))));
  out.Scale(group + 3, hn::Mul(d, ToFloat(Byte<3>(bytes))));
}
template <class To>
HWY_INLINE void StoreSignedScales(VF d, V32 bytes, size_t group, To& out) {
  out.Scale(group, hn::Mul(d, hn::ConvertTo(DF(), SignedByte<0>(bytes))));
  out.Scale(group + 1, hn::Mul(d, hn::ConvertTo(DF(), SignedByte<1>(bytes))));
  out.Scale(group + 2, hn::Mul(d, hn::ConvertTo(DF(), SignedByte<2>(bytes))));
  out.Scale(group + 3, hn::Mul(d, hn::ConvertTo(DF(), SignedByte<3>(bytes))));
}
// The same for formats that scale codes: the integers.
template <class To>
HWY_INLINE void StoreScaleCodes(VF d, V32 bytes, size_t group, To& out) {
  Unroll<4>([&](auto j) QUERN_INLINE_LAMBDA { out.ScaleCode(group + j, d, SignedByte<j>(bytes)); });
}
// Minimums dmin * byte of four groups from `group` on, as the integers.
template <class To>
HWY_INLINE void StoreMinCodes(VF dmin, V32 bytes, size_t group, To& out) {
  const VI even = hn::BitCast(DI(), hn::And(bytes, Splat(0x00FF00FF)));
  const VI odd = hn::BitCast(DI(), hn::And(hn::ShiftRight<8>(bytes), Splat(0x00FF00FF)));
  out.MinPair(group / 2, dmin, Pairs(even, odd));
  out.MinPair(group / 2 + 1, dmin, Pairs(hn::ShiftRight<16>(even), hn::ShiftRight<16>(odd)));
}

// Q4_K and Q5_K start alike: d, dmin, then 8 scales and 8 minimums of 6 bits in 12 bytes.
template <class To>
HWY_INLINE void StoreScalesAndMins6Bit(const FourWords& head, To& out) {
  const VF d = HalfToFloat(head.w[0]);
  const VF dmin = UpperHalfToFloat(head.w[0]);
  const V32 a = head.w[1], b = head.w[2], c = head.w[3];
  const V32 six = SplatByte(0x3F), upper = SplatByte(0x30);
  StoreScales(d, hn::And(a, six), 0, out);
  StoreScales(d, hn::Or(LowNibbles(c), hn::And(hn::ShiftRight<2>(a), upper)), 4, out);
  StoreMinCodes(dmin, hn::And(b, six), 0, out);
  StoreMinCodes(dmin, hn::Or(HighNibbles(c), hn::And(hn::ShiftRight<2>(b), upper)), 4, out);
}

// Two-bit codes: four bit planes of 32 values each per 32 bytes. `plane` shifts its two bits down.
template <int kPlane>
HWY_INLINE V32 TwoBits(V32 w) {
  return hn::And(hn::ShiftRight<2 * kPlane>(w), SplatByte(3));
}

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
#endif
