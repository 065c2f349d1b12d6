// IQ1_S: 2048 runs of 8 of -1, 0, 1, shifted; 3-bit scales per 32 (spec: block formats).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/formats/iq1_s.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/formats/codebooks-inl.h"

#if HWY_TARGET != HWY_SCALAR
HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

template <>
struct Unpacker<gguf::Format::IQ1_S> {
  static constexpr std::array kOrder = std::to_array<Segment>({{2, 48}, {0, 2}});

  template <class From, class To>
  static HWY_INLINE void Block(const From& rows, To& out) {
    const VF d = HalfToFloat(LoadField(rows, 0));
    const FourWords high = LoadWords(rows, 34);
    for (size_t g = 0; g < 8; ++g) {
      const V32 qs = LoadWords(rows, 2 + 16 * (g / 4)).w[g % 4];
      const V32 fields = Bits(high.w[g / 2], 16 * (g % 2), 16);
      for (int l = 0; l < 4; ++l) {
        const V32 upper = hn::ShiftLeft<8>(Bits(fields, 3 * l, 3));
        StoreShiftedRun(hn::Or(Bits(qs, 8 * l, 8), upper), hn::ShiftRight<15>(fields),
                        32 * g + 8 * l, out);
      }
      out.Scale(g, OddScale(d, Bits(fields, 12, 3), 0.125f));
    }
  }
};

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

QUERN_FORMAT_KERNELS(IQ1_S)
