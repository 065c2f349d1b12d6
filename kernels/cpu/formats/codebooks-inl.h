// What the i-quants with codebooks share (spec: block formats, section 5): every lane gathers the
// four values that its own index picks.
#if defined(QUERN_FORMATS_CODEBOOKS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef QUERN_FORMATS_CODEBOOKS_INL_H_
#undef QUERN_FORMATS_CODEBOOKS_INL_H_
#else
#define QUERN_FORMATS_CODEBOOKS_INL_H_
#endif

#include "kernels/cpu/codebooks.h"
#include "kernels/cpu/formats/unpacker-inl.h"

#if HWY_TARGET != HWY_SCALAR
HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

// `count` bits of every lane from bit `first` on.
HWY_INLINE V32 Bits(V32 w, int first, int count) {
  return hn::And(hn::ShiftRightSame(w, first), Splat((1u << count) - 1));
}

// Word `word` of codebook entry `index`: runs of 8 have two words, runs of 4 one.
template <size_t Run, size_t Entries>
HWY_INLINE V32 Gather(const Codebook<Run, Entries>& book, V32 index, size_t word) {
  const hn::RebindToSigned<D32> di;
  const auto* words = reinterpret_cast<const uint32_t*>(book.data()) + word;
  return hn::GatherIndex(D32(), words, hn::BitCast(di, Run == 8 ? hn::Add(index, index) : index));
}

// 128 + or - four magnitudes (1 … 127); bit j of `signs` (4 bits) makes value j negative. With s =
// 0 or 1: 128 + m, or 128 - m = ~(m + 127).
HWY_INLINE V32 ApplySigns(V32 magnitudes, V32 signs) {
  const V32 ones = SpreadBits(signs);
  const V32 mask = hn::Sub(hn::ShiftLeft<8>(ones), ones);  // ones * 255
  return hn::Xor(hn::Sub(hn::Add(magnitudes, SplatByte(128)), ones), mask);
}

// The 8-bit sign mask of 7 stored bits: see sign_mask().
HWY_INLINE V32 SignMask(V32 bits7) {
  V32 parity = hn::Xor(bits7, hn::ShiftRight<4>(bits7));
  parity = hn::Xor(parity, hn::ShiftRight<2>(parity));
  parity = hn::Xor(parity, hn::ShiftRight<1>(parity));
  return hn::Or(bits7, hn::ShiftLeft<7>(hn::And(parity, Splat(1))));
}

// Values k … k + 7 from one codebook entry and 8 signs.
template <size_t Entries, class To>
HWY_INLINE void StoreRun(const Codebook<8, Entries>& book, V32 index, V32 signs, size_t k,
                         To& out) {
  out.Codes(k, ApplySigns(Gather(book, index, 0), Bits(signs, 0, 4)));
  out.Codes(k + 4, ApplySigns(Gather(book, index, 1), Bits(signs, 4, 4)));
}

// d * (s + 1/2) * factor.
HWY_INLINE VF HalfStepScale(VF d, V32 s, float factor) {
  const DF df;
  return hn::Mul(hn::Mul(d, hn::Add(ToFloat(s), hn::Set(df, 0.5f))), hn::Set(df, factor));
}
// d * (2 s + 1) * factor.
HWY_INLINE VF OddScale(VF d, V32 s, float factor) {
  const DF df;
  const V32 odd = hn::Add(hn::Add(s, s), Splat(1));
  return hn::Mul(hn::Mul(d, ToFloat(odd)), hn::Set(df, factor));
}

// The 16 scales of IQ2_XS and IQ2_S: nibbles of two words.
template <class To>
HWY_INLINE void StoreNibbleScales(VF d, V32 first, V32 second, To& out) {
  Unroll<8>([&](auto b) QUERN_INLINE_LAMBDA {
    out.Scale(b, HalfStepScale(d, Bits(first, 4 * b, 4), 0.25f));
    out.Scale(b + 8, HalfStepScale(d, Bits(second, 4 * b, 4), 0.25f));
  });
}

// Values k … k + 7 of IQ1_*: 8 times (-1, 0 or 1), plus 1, or minus 1 where `down` is 1.
template <class To>
HWY_INLINE void StoreShiftedRun(V32 index, V32 down, size_t k, To& out) {
  const hn::Repartition<uint8_t, D32> d8;
  const V32 halves = hn::Or(down, hn::ShiftLeft<8>(down));
  const V32 bytes = hn::Or(halves, hn::ShiftLeft<16>(halves));
  const V32 offset = hn::Sub(SplatByte(2), hn::Add(bytes, bytes));
  Unroll<2>([&](auto word) QUERN_INLINE_LAMBDA {
    const auto values = hn::BitCast(d8, Gather(kIq1Codebook, index, word));
    const V32 from0 = hn::BitCast(D32(), hn::Add(values, hn::Set(d8, 1)));  // 0, 1, 2
    out.Codes(k + 4 * word, hn::Add(hn::ShiftLeft<3>(from0), offset));
  });
}

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
#endif
