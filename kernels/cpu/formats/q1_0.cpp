// Q1_0: signs, one scale per 128 (spec: block formats).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/formats/q1_0.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/formats/unpacker-inl.h"

#if HWY_TARGET != HWY_SCALAR
HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

template <>
struct Unpacker<gguf::Format::Q1_0> {
  static constexpr std::array kOrder = std::to_array<Segment>({{2, 16}, {0, 2}});

  template <class From, class To>
  static HWY_INLINE void Block(const From& rows, To& out) {
    const FourWords qs = LoadWords(rows, 2);
    const VF d = HalfToFloat(LoadField(rows, 0));
    Unroll<4>([&](auto j) QUERN_INLINE_LAMBDA {
      V32 bits = qs.w[j];
      Unroll<8>([&](auto i) QUERN_INLINE_LAMBDA {
        const V32 ones = SpreadBits(hn::And(bits, Splat(15)));
        out.Codes(32 * j + 4 * i, hn::Add(ones, ones));
        bits = hn::ShiftRight<4>(bits);
      });
      out.Scale(j, d);
    });
  }
};

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

QUERN_FORMAT_KERNELS(Q1_0)
