// NVFP4: E2M1 codes, one UE4M3 scale per 16 (spec: block formats).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/formats/nvfp4.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/codebooks.h"
#include "kernels/cpu/formats/unpacker-inl.h"

#if HWY_TARGET != HWY_SCALAR
HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

template <>
struct Unpacker<gguf::Format::NVFP4> {
  static constexpr std::array kOrder = std::to_array<Segment>({{4, 32}, {0, 4}});

  template <class From, class To>
  static HWY_INLINE void Block(const From& rows, To& out) {
    const V32 table = LoadTable(kFp4Codes.data(), code_bias(gguf::Format::NVFP4));
    Unroll<2>([&](auto half) QUERN_INLINE_LAMBDA {
      const FourWords qs = LoadWords(rows, 4 + 16 * half);
      // 8 bytes hold 16 values: low nibbles, then high ones.
      Unroll<4>([&](auto j) QUERN_INLINE_LAMBDA {
        const size_t k = 32 * half + 16 * (j / 2) + 4 * (j % 2);
        out.Codes(k, Lookup(table, LowNibbles(qs.w[j])));
        out.Codes(k + 8, Lookup(table, HighNibbles(qs.w[j])));
      });
    });
    const V32 scales = LoadWords(rows, 0).w[0];
    out.Scale(0, Ue4m3Half(Byte<0>(scales)));
    out.Scale(1, Ue4m3Half(Byte<1>(scales)));
    out.Scale(2, Ue4m3Half(Byte<2>(scales)));
    out.Scale(3, Ue4m3Half(Byte<3>(scales)));
  }

  // Exponent and mantissa moved to their places in binary32, where the bias is 127 instead of 8.
  static HWY_INLINE VF Ue4m3Half(V32 byte) {
    const V32 bits = hn::ShiftLeft<20>(hn::And(byte, Splat(0x7F)));
    const V32 kept = hn::IfThenZeroElse(hn::Eq(byte, Splat(0x7F)), bits);
    return hn::Mul(hn::BitCast(DF(), kept), hn::Set(DF(), 0x1p119f));
  }
};

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

QUERN_FORMAT_KERNELS(NVFP4)
