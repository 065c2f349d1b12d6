// Q2_0: 2-bit codes -1 to 2, one scale per 64 (spec: block formats).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/formats/q2_0.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/formats/unpacker-inl.h"

#if HWY_TARGET != HWY_SCALAR
HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

template <>
struct Unpacker<gguf::Format::Q2_0> {
  static constexpr std::array kOrder = std::to_array<Segment>({{2, 16}, {0, 2}});

  template <class From, class To>
  static HWY_INLINE void Block(const From& rows, To& out) {
    const FourWords qs = LoadWords(rows, 2);
    Unroll<4>([&](auto j) QUERN_INLINE_LAMBDA {
      out.Codes(16 * j, SpreadPairs(Byte<0>(qs.w[j])));
      out.Codes(16 * j + 4, SpreadPairs(Byte<1>(qs.w[j])));
      out.Codes(16 * j + 8, SpreadPairs(Byte<2>(qs.w[j])));
      out.Codes(16 * j + 12, SpreadPairs(Byte<3>(qs.w[j])));
    });
    const VF d = HalfToFloat(LoadField(rows, 0));
    out.Scale(0, d);
    out.Scale(1, d);
  }
};

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

QUERN_FORMAT_KERNELS(Q2_0)
