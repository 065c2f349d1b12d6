// TQ1_0: base-3 digits, one scale per 256 (spec: block formats).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/formats/tq1_0.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/formats/k_quants-inl.h"

#if HWY_TARGET != HWY_SCALAR
HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

template <>
struct Unpacker<gguf::Format::TQ1_0> {
  static constexpr std::array kOrder = std::to_array<Segment>({{0, 52}, {52, 2}});

  // kDigits base-3 digits of four bytes; digit n is stored at value k + n * step. A byte is a
  // fraction of 256: times 3, the integer part is the next digit and the rest the next fraction.
  template <size_t kDigits, class To>
  static HWY_INLINE void Digits(V32 bytes, size_t k, size_t step, To& out) {
    const V32 fractions = Splat(0x00FF00FF);
    V32 even = hn::And(bytes, fractions);
    V32 odd = hn::And(hn::ShiftRight<8>(bytes), fractions);
    Unroll<kDigits>([&](auto n) QUERN_INLINE_LAMBDA {
      const V32 even3 = hn::Add(even, hn::Add(even, even));
      const V32 odd3 = hn::Add(odd, hn::Add(odd, odd));
      const V32 codes = hn::Or(hn::And(hn::ShiftRight<8>(even3), Splat(0x00030003)),
                               hn::And(odd3, Splat(0x03000300)));
      out.Codes(k + n * step, codes);
      even = hn::And(even3, fractions);
      odd = hn::And(odd3, fractions);
    });
  }

  template <class From, class To>
  static HWY_INLINE void Block(const From& rows, To& out) {
    const FourWords first = LoadWords(rows, 0);
    const FourWords second = LoadWords(rows, 16);
    const FourWords third = LoadWords(rows, 32);
    Unroll<4>([&](auto j) QUERN_INLINE_LAMBDA {
      Digits<5>(first.w[j], 4 * j, 32, out);
      Digits<5>(second.w[j], 16 + 4 * j, 32, out);
      Digits<5>(third.w[j], 160 + 4 * j, 16, out);
    });
    Digits<4>(LoadWords(rows, 36).w[3], 240, 4, out);  // four bytes of four digits
    const VF d = HalfToFloat(LoadField(rows, 52));
    Unroll<8>([&](auto g) QUERN_INLINE_LAMBDA { out.Scale(g, d); });
  }
};

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

QUERN_FORMAT_KERNELS(TQ1_0)
