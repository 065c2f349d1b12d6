// Q3_K: 3-bit codes, 6-bit scales per 16 (spec: block formats).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/formats/q3_k.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/formats/k_quants-inl.h"

#if HWY_TARGET != HWY_SCALAR
HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

template <>
struct Unpacker<gguf::Format::Q3_K> {
  static constexpr std::array kOrder = std::to_array<Segment>(
      {{0, 16}, {32, 16}, {64, 16}, {16, 16}, {48, 16}, {80, 16}, {96, 12}, {108, 2}});

  // Codes of four bit planes from one word; bits 0 … 3 of every byte of `high` are their third
  // bits.
  template <class To>
  static HWY_INLINE void Planes(V32 w, V32 high, size_t k, To& out) {
    const V32 four = SplatByte(4);
    out.Codes(k, hn::OrAnd(TwoBits<0>(w), hn::ShiftLeft<2>(high), four));
    out.Codes(k + 32, hn::OrAnd(TwoBits<1>(w), hn::ShiftLeft<1>(high), four));
    out.Codes(k + 64, hn::OrAnd(TwoBits<2>(w), high, four));
    out.Codes(k + 96, hn::OrAnd(TwoBits<3>(w), hn::ShiftRight<1>(high), four));
  }

  static constexpr size_t kRequestLines = 4;

  template <class From, class To>
  static HWY_INLINE void Block(const From& rows, To& out) {
    Unroll<2>([&](auto half) QUERN_INLINE_LAMBDA {
      const FourWords high = LoadWords(rows, 16 * half);
      const FourWords first = LoadWords(rows, 32 + 16 * half);
      const FourWords second = LoadWords(rows, 64 + 16 * half);
      Unroll<4>([&](auto j) QUERN_INLINE_LAMBDA {
        const size_t k = 16 * half + 4 * j;
        Planes(first.w[j], high.w[j], k, out);
        Planes(second.w[j], hn::ShiftRight<4>(high.w[j]), 128 + k, out);
      });
    });
    Scales(LoadWords(rows, 92), HalfToFloat(LoadField(rows, 108)), out);
  }

  // `tail` ends with the 12 bytes of 6-bit scales.
  template <class To>
  static HWY_INLINE void Scales(const FourWords& tail, VF d, To& out) {
    const V32 a = tail.w[1], b = tail.w[2], c = tail.w[3];
    const V32 upper = SplatByte(0x30);
    Offset32(d, hn::Or(LowNibbles(a), hn::And(hn::ShiftLeft<4>(c), upper)), 0, out);
    Offset32(d, hn::Or(LowNibbles(b), hn::And(hn::ShiftLeft<2>(c), upper)), 4, out);
    Offset32(d, hn::Or(HighNibbles(a), hn::And(c, upper)), 8, out);
    Offset32(d, hn::Or(HighNibbles(b), hn::And(hn::ShiftRight<2>(c), upper)), 12, out);
  }

  // Scales d * (byte - 32); the subtraction stays within bytes when the top bit is set first.
  template <class To>
  static HWY_INLINE void Offset32(VF d, V32 bytes, size_t group, To& out) {
    const V32 top = SplatByte(0x80);
    StoreScaleCodes(d, hn::Xor(hn::Sub(hn::Or(bytes, top), SplatByte(32)), top), group, out);
  }
};

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

QUERN_FORMAT_KERNELS(Q3_K)
