// IQ2_XS: 512 runs of 8, 4-bit scales per 16 (spec: block formats).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/formats/iq2_xs.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/formats/codebooks-inl.h"

#if HWY_TARGET != HWY_SCALAR
HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

template <>
struct Unpacker<gguf::Format::IQ2_XS> {
  static constexpr std::array kOrder = std::to_array<Segment>({{2, 72}, {0, 2}});

  template <class From, class To>
  static HWY_INLINE void Block(const From& rows, To& out) {
    const VF d = HalfToFloat(LoadField(rows, 0));
    for (size_t chunk = 0; chunk < 4; ++chunk) {
      const FourWords words = LoadWords(rows, 2 + 16 * chunk);
      for (size_t r = 0; r < 8; ++r) {  // 16 bits per run
        const V32 field = Bits(words.w[r / 2], 16 * (r % 2), 16);
        StoreRun(kIq2XsCodebook, Bits(field, 0, 9), SignMask(hn::ShiftRight<9>(field)),
                 64 * chunk + 8 * r, out);
      }
    }
    const FourWords tail = LoadWords(rows, 58);
    StoreNibbleScales(d, tail.w[2], tail.w[3], out);
  }
};

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

QUERN_FORMAT_KERNELS(IQ2_XS)
