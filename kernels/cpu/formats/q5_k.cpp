// Q5_K: 5-bit codes, 6-bit scales and minimums per 32 (spec: block formats).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/formats/q5_k.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/formats/k_quants-inl.h"

#if HWY_TARGET != HWY_SCALAR
HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

template <>
struct Unpacker<gguf::Format::Q5_K> {
  static constexpr std::array kOrder = std::to_array<Segment>({{0, 32},
                                                               {48, 16},
                                                               {80, 16},
                                                               {112, 16},
                                                               {144, 16},
                                                               {32, 16},
                                                               {64, 16},
                                                               {96, 16},
                                                               {128, 16},
                                                               {160, 16}});

  template <class From, class To>
  static HWY_INLINE void Block(const From& rows, To& out) {
    StoreScalesAndMins6Bit(LoadWords(rows, 0), out);
    const V32 sixteen = SplatByte(16);
    Unroll<2>([&](auto half) QUERN_INLINE_LAMBDA {
      // Bit g of every byte of `fifth` is the fifth bit in group g; two groups are used at a time.
      FourWords fifth = LoadWords(rows, 16 + 16 * half);
      Unroll<4>([&](auto pair) QUERN_INLINE_LAMBDA {
        const FourWords qs = LoadWords(rows, 48 + 32 * pair + 16 * half);
        const size_t start = 64 * pair + 16 * half;
        Unroll<4>([&](auto j) QUERN_INLINE_LAMBDA {
          const V32 low = hn::And(hn::ShiftLeft<4>(fifth.w[j]), sixteen);
          const V32 high = hn::And(hn::ShiftLeft<3>(fifth.w[j]), sixteen);
          out.Codes(start + 4 * j, hn::Or(LowNibbles(qs.w[j]), low));
          out.Codes(start + 32 + 4 * j, hn::Or(HighNibbles(qs.w[j]), high));
          fifth.w[j] = hn::ShiftRight<2>(fifth.w[j]);
        });
      });
    });
  }
};

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

QUERN_FORMAT_KERNELS(Q5_K)
