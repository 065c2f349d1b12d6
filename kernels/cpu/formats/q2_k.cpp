// Q2_K: 2-bit codes, 4-bit scales and minimums per 16 (spec: block formats).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/formats/q2_k.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/formats/k_quants-inl.h"

#if HWY_TARGET != HWY_SCALAR
HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

template <>
struct Unpacker<gguf::Format::Q2_K> {
  static constexpr std::array kOrder = std::to_array<Segment>({{16, 68}, {0, 16}});

  static constexpr size_t kRequestLines = 4;

  template <class From, class To>
  static HWY_INLINE void Block(const From& rows, To& out) {
    Unroll<4>([&](auto chunk) QUERN_INLINE_LAMBDA {
      const FourWords qs = LoadWords(rows, 16 + 16 * chunk);
      const size_t start = 128 * (chunk / 2) + 16 * (chunk % 2);
      Unroll<4>([&](auto j) QUERN_INLINE_LAMBDA {
        const size_t k = start + 4 * j;
        out.Codes(k, TwoBits<0>(qs.w[j]));
        out.Codes(k + 32, TwoBits<1>(qs.w[j]));
        out.Codes(k + 64, TwoBits<2>(qs.w[j]));
        out.Codes(k + 96, TwoBits<3>(qs.w[j]));
      });
    });
    const V32 factors = LoadWords(rows, 68).w[3];
    const FourWords scales = LoadWords(rows, 0);
    Unroll<4>([&](auto j) QUERN_INLINE_LAMBDA {
      StoreScaleCodes(HalfToFloat(factors), LowNibbles(scales.w[j]), 4 * j, out);
      StoreMinCodes(UpperHalfToFloat(factors), HighNibbles(scales.w[j]), 4 * j, out);
    });
  }
};

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

QUERN_FORMAT_KERNELS(Q2_K)
