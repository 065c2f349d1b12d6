// IQ3_S: 512 runs of 4, 4-bit scales per 32 (spec: block formats).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/formats/iq3_s.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/formats/codebooks-inl.h"

#if HWY_TARGET != HWY_SCALAR
HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

template <>
struct Unpacker<gguf::Format::IQ3_S> {
  static constexpr std::array kOrder = std::to_array<Segment>({{2, 108}, {0, 2}});

  template <class From, class To>
  static HWY_INLINE void Block(const From& rows, To& out) {
    const VF d = HalfToFloat(LoadField(rows, 0));
    const FourWords high = LoadWords(rows, 66);
    const V32 scales = LoadWords(rows, 94).w[3];
    for (size_t g = 0; g < 8; ++g) {
      const FourWords qs = LoadWords(rows, 2 + 16 * (g / 2));
      const V32 signs = LoadWords(rows, 74 + 16 * (g / 4)).w[g % 4];
      for (size_t f = 0; f < 8; ++f) {
        const int bit = static_cast<int>(8 * (g % 4) + f);
        const V32 ninth = hn::ShiftLeft<8>(Bits(high.w[g / 4], bit, 1));
        const V32 index = hn::Or(Bits(qs.w[2 * (g % 2) + f / 4], 8 * (f % 4), 8), ninth);
        out.Codes(32 * g + 4 * f,
                  ApplySigns(Gather(kIq3SCodebook, index, 0), Bits(signs, 4 * f, 4)));
      }
      out.Scale(g, OddScale(d, Bits(scales, 4 * g, 4), 1.0f));
    }
  }
};

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

QUERN_FORMAT_KERNELS(IQ3_S)
