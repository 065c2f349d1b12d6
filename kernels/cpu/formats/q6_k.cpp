// Q6_K: 6-bit codes, 8-bit scales per 16 (spec: block formats).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/formats/q6_k.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/formats/k_quants-inl.h"

#if HWY_TARGET != HWY_SCALAR
HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

template <>
struct Unpacker<gguf::Format::Q6_K> {
  static constexpr std::array kOrder = std::to_array<Segment>({{0, 16},
                                                               {32, 16},
                                                               {128, 16},
                                                               {16, 16},
                                                               {48, 16},
                                                               {144, 16},
                                                               {64, 16},
                                                               {96, 16},
                                                               {160, 16},
                                                               {80, 16},
                                                               {112, 16},
                                                               {176, 16},
                                                               {192, 16},
                                                               {208, 2}});

  static constexpr size_t kRequestLines = 8;

  template <class From, class To>
  static HWY_INLINE void Block(const From& rows, To& out) {
    const V32 upper = SplatByte(0x30);
    Unroll<4>([&](auto part) QUERN_INLINE_LAMBDA {
      const size_t n = part / 2, half = part % 2;
      const FourWords a = LoadWords(rows, 64 * n + 16 * half);
      const FourWords b = LoadWords(rows, 64 * n + 32 + 16 * half);
      const FourWords high = LoadWords(rows, 128 + 32 * n + 16 * half);
      Unroll<4>([&](auto j) QUERN_INLINE_LAMBDA {
        const size_t k = 128 * n + 16 * half + 4 * j;
        const V32 h = high.w[j];
        out.Codes(k, hn::OrAnd(LowNibbles(a.w[j]), hn::ShiftLeft<4>(h), upper));
        out.Codes(k + 32, hn::OrAnd(LowNibbles(b.w[j]), hn::ShiftLeft<2>(h), upper));
        out.Codes(k + 64, hn::OrAnd(HighNibbles(a.w[j]), h, upper));
        out.Codes(k + 96, hn::OrAnd(HighNibbles(b.w[j]), hn::ShiftRight<2>(h), upper));
      });
    });
    const VF d = HalfToFloat(LoadField(rows, 208));
    const FourWords scales = LoadWords(rows, 192);
    Unroll<4>([&](auto j) QUERN_INLINE_LAMBDA { StoreSignedScales(d, scales.w[j], 4 * j, out); });
  }
};

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

QUERN_FORMAT_KERNELS(Q6_K)
