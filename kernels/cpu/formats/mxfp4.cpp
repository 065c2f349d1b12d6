// MXFP4: E2M1 codes, one E8M0 scale per 32 (spec: block formats).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/formats/mxfp4.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/codebooks.h"
#include "kernels/cpu/formats/nibbles-inl.h"

#if HWY_TARGET != HWY_SCALAR
HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

template <>
struct Unpacker<gguf::Format::MXFP4> {
  static constexpr std::array kOrder = std::to_array<Segment>({{1, 16}, {0, 1}});

  static constexpr size_t kRequestLines = 17;

  template <class From, class To>
  static HWY_INLINE void Block(const From& rows, To& out) {
    StoreLookedUpNibbles(LoadWords(rows, 1),
                         LoadTable(kFp4Codes.data(), code_bias(gguf::Format::MXFP4)), out);
    // 2^(e - 128): subnormal for e = 0 and 1.
    const V32 e = Byte<0>(LoadField(rows, 0));
    const auto is_normal = hn::Gt(e, Splat(1));
    const V32 normal = hn::ShiftLeft<23>(hn::Sub(e, Splat(1)));
    const V32 subnormal = hn::ShiftLeft<21>(hn::Add(e, Splat(1)));
    out.Scale(0, hn::BitCast(DF(), hn::IfThenElse(is_normal, normal, subnormal)));
  }
};

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

QUERN_FORMAT_KERNELS(MXFP4)
