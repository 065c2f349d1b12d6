// IQ4_XS: 4-bit indices of 16 uneven codes, 6-bit scales per 32 (spec: block formats).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/formats/iq4_xs.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/codebooks.h"
#include "kernels/cpu/formats/unpacker-inl.h"

#if HWY_TARGET != HWY_SCALAR
HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

template <>
struct Unpacker<gguf::Format::IQ4_XS> {
  static constexpr std::array kOrder = std::to_array<Segment>({{8, 128}, {0, 8}});

  template <class From, class To>
  static HWY_INLINE void Block(const From& rows, To& out) {
    const V32 table = LoadTable(kNl4Codes.data(), code_bias(gguf::Format::IQ4_XS));
    Unroll<8>([&](auto g) QUERN_INLINE_LAMBDA {
      const FourWords qs = LoadWords(rows, 8 + 16 * g);
      Unroll<4>([&](auto j) QUERN_INLINE_LAMBDA {
        out.Codes(32 * g + 4 * j, Lookup(table, LowNibbles(qs.w[j])));
        out.Codes(32 * g + 16 + 4 * j, Lookup(table, HighNibbles(qs.w[j])));
      });
    });
    const FourWords head = LoadWords(rows, 0);
    const VF d = HalfToFloat(head.w[0]);
    V32 high = hn::ShiftRight<16>(head.w[0]);
    V32 low = head.w[1];
    Unroll<8>([&](auto g) QUERN_INLINE_LAMBDA {
      const V32 upper = hn::ShiftLeft<4>(hn::And(high, Splat(3)));
      const VF scale = ToFloat(hn::Or(hn::And(low, Splat(15)), upper));
      out.Scale(g, hn::Mul(d, hn::Sub(scale, hn::Set(DF(), 32.0f))));
      low = hn::ShiftRight<4>(low);
      high = hn::ShiftRight<2>(high);
    });
  }
};

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

QUERN_FORMAT_KERNELS(IQ4_XS)
