// IQ2_XXS: 256 runs of 8, 4-bit scales per 32 (spec: block formats).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/formats/iq2_xxs.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/formats/codebooks-inl.h"

#if HWY_TARGET != HWY_SCALAR
HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

template <>
struct Unpacker<gguf::Format::IQ2_XXS> {
  static constexpr std::array kOrder = std::to_array<Segment>({{2, 64}, {0, 2}});

  template <class From, class To>
  static HWY_INLINE void Block(const From& rows, To& out) {
    const VF d = HalfToFloat(LoadField(rows, 0));
    for (size_t g = 0; g < 8; ++g) {  // two groups per 16 bytes: indices, then signs and scale
      const FourWords words = LoadWords(rows, 2 + 16 * (g / 2));
      const V32 indices = words.w[2 * (g % 2)];
      const V32 fields = words.w[2 * (g % 2) + 1];
      for (int l = 0; l < 4; ++l) {
        StoreRun(kIq2XxsCodebook, Bits(indices, 8 * l, 8), SignMask(Bits(fields, 7 * l, 7)),
                 32 * g + 8 * l, out);
      }
      out.Scale(g, HalfStepScale(d, hn::ShiftRight<28>(fields), 0.25f));
    }
  }
};

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

QUERN_FORMAT_KERNELS(IQ2_XXS)
