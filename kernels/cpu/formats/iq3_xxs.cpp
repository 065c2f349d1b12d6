// IQ3_XXS: 256 runs of 4, 4-bit scales per 32 (spec: block formats).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/formats/iq3_xxs.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/formats/codebooks-inl.h"

#if HWY_TARGET != HWY_SCALAR
HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

template <>
struct Unpacker<gguf::Format::IQ3_XXS> {
  static constexpr std::array kOrder = std::to_array<Segment>({{2, 96}, {0, 2}});

  template <class From, class To>
  static HWY_INLINE void Block(const From& rows, To& out) {
    const VF d = HalfToFloat(LoadField(rows, 0));
    for (size_t g = 0; g < 8; ++g) {
      const FourWords qs = LoadWords(rows, 2 + 16 * (g / 2));
      const V32 fields = LoadWords(rows, 66 + 16 * (g / 4)).w[g % 4];
      for (size_t f = 0; f < 8; ++f) {  // an index per four values, signs per eight
        const V32 index = Bits(qs.w[2 * (g % 2) + f / 4], 8 * (f % 4), 8);
        const V32 signs = SignMask(Bits(fields, 7 * (f / 2), 7));
        out.Codes(32 * g + 4 * f,
                  ApplySigns(Gather(kIq3XxsCodebook, index, 0), Bits(signs, 4 * (f % 2), 4)));
      }
      out.Scale(g, HalfStepScale(d, hn::ShiftRight<28>(fields), 0.5f));
    }
  }
};

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

QUERN_FORMAT_KERNELS(IQ3_XXS)
