// Q4_K: 4-bit codes, 6-bit scales and minimums per 32 (spec: block formats).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/formats/q4_k.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/formats/k_quants-inl.h"

#if HWY_TARGET != HWY_SCALAR
HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

template <>
struct Unpacker<gguf::Format::Q4_K> {
  template <class From, class To>
  static HWY_INLINE void Block(const From& rows, To& out) {
    StoreScalesAndMins6Bit(LoadWords(rows, 0), out);
    Unroll<8>([&](auto chunk) QUERN_INLINE_LAMBDA {
      const FourWords qs = LoadWords(rows, 16 + 16 * chunk);
      const size_t start = 64 * (chunk / 2) + 16 * (chunk % 2);
      Unroll<4>([&](auto j) QUERN_INLINE_LAMBDA {
        out.Codes(start + 4 * j, LowNibbles(qs.w[j]));
        out.Codes(start + 32 + 4 * j, HighNibbles(qs.w[j]));
      });
    });
  }
};

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

QUERN_FORMAT_KERNELS(Q4_K)
