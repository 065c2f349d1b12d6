// Q8_0: 8-bit codes, one scale per 32 (spec: block formats).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/formats/q8_0.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/formats/unpacker-inl.h"

#if HWY_TARGET != HWY_SCALAR
HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

template <>
struct Unpacker<gguf::Format::Q8_0> {
  static constexpr std::array kOrder = std::to_array<Segment>({{2, 32}, {0, 2}});

  template <class From, class To>
  static HWY_INLINE void Block(const From& rows, To& out) {
    const FourWords first = LoadWords(rows, 2);
    const FourWords second = LoadWords(rows, 18);
    Unroll<4>([&](auto j) QUERN_INLINE_LAMBDA {
      out.Codes(4 * j, hn::Xor(first.w[j], SplatByte(128)));
      out.Codes(16 + 4 * j, hn::Xor(second.w[j], SplatByte(128)));
    });
    out.Scale(0, HalfToFloat(LoadField(rows, 0)));
  }
};

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

QUERN_FORMAT_KERNELS(Q8_0)
