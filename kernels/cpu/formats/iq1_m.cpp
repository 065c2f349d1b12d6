// IQ1_M: 2048 runs of 8 of -1, 0, 1, shifted; 3-bit scales per 16 (spec: block formats).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/formats/iq1_m.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/formats/codebooks-inl.h"

#if HWY_TARGET != HWY_SCALAR
HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

template <>
struct Unpacker<gguf::Format::IQ1_M> {
  template <class From, class To>
  static HWY_INLINE void Block(const From& rows, To& out) {
    const FourWords high = LoadWords(rows, 32);
    for (size_t half = 0; half < 2; ++half) {
      const FourWords qs = LoadWords(rows, 16 * half);
      for (size_t r = 0; r < 16; ++r) {  // four high bits per run: three of the index, the shift
        const V32 fields = Bits(high.w[2 * half + r / 8], 4 * (r % 8), 4);
        const V32 upper = hn::ShiftLeft<8>(Bits(fields, 0, 3));
        StoreShiftedRun(hn::Or(Bits(qs.w[r / 4], 8 * (r % 4), 8), upper), hn::ShiftRight<3>(fields),
                        128 * half + 8 * r, out);
      }
    }
    const FourWords tail = LoadWords(rows, 40);
    Scales(tail.w[2], tail.w[3], out);
  }

  // Four 16-bit words: twelve bits hold four scales, the upper four bits a quarter of d.
  template <class To>
  static HWY_INLINE void Scales(V32 first, V32 second, To& out) {
    const V32 lower = hn::Or(Bits(first, 12, 4), hn::ShiftLeft<4>(hn::ShiftRight<28>(first)));
    const V32 upper = hn::Or(Bits(second, 12, 4), hn::ShiftLeft<4>(hn::ShiftRight<28>(second)));
    const VF d = HalfToFloat(hn::Or(lower, hn::ShiftLeft<8>(upper)));
    for (int b = 0; b < 8; ++b) {
      const int bit = 16 * (b / 4) + 3 * (b % 4);
      out.Scale(b, OddScale(d, Bits(first, bit, 3), 0.125f));
      out.Scale(b + 8, OddScale(d, Bits(second, bit, 3), 0.125f));
    }
  }
};

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

QUERN_FORMAT_KERNELS(IQ1_M)
