// IQ2_S: 1024 runs of 8, 4-bit scales per 16 (spec: block formats).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/formats/iq2_s.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/formats/codebooks-inl.h"

#if HWY_TARGET != HWY_SCALAR
HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

template <>
struct Unpacker<gguf::Format::IQ2_S> {
  static constexpr std::array kOrder = std::to_array<Segment>({{2, 80}, {0, 2}});

  template <class From, class To>
  static HWY_INLINE void Block(const From& rows, To& out) {
    const VF d = HalfToFloat(LoadField(rows, 0));
    const FourWords tail = LoadWords(rows, 66);  // high index bits, then scales
    for (size_t half = 0; half < 2; ++half) {
      const FourWords qs = LoadWords(rows, 2 + 16 * half);
      const FourWords signs = LoadWords(rows, 34 + 16 * half);
      for (size_t r = 0; r < 16; ++r) {
        const int bit = 8 * (r % 4);
        const V32 high = Bits(tail.w[half], 2 * static_cast<int>(r), 2);
        const V32 index = hn::Or(Bits(qs.w[r / 4], bit, 8), hn::ShiftLeft<8>(high));
        StoreRun(kIq2SCodebook, index, Bits(signs.w[r / 4], bit, 8), 128 * half + 8 * r, out);
      }
    }
    StoreNibbleScales(d, tail.w[2], tail.w[3], out);
  }
};

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

QUERN_FORMAT_KERNELS(IQ2_S)
