// IQ4_NL: 4-bit indices of 16 uneven codes, one scale per 32 (spec: block formats).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/formats/iq4_nl.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/codebooks.h"
#include "kernels/cpu/formats/nibbles-inl.h"

#if HWY_TARGET != HWY_SCALAR
HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

template <>
struct Unpacker<gguf::Format::IQ4_NL> {
  static constexpr std::array kOrder = std::to_array<Segment>({{2, 16}, {0, 2}});

  template <class From, class To>
  static HWY_INLINE void Block(const From& rows, To& out) {
    StoreLookedUpNibbles(LoadWords(rows, 2),
                         LoadTable(kNl4Codes.data(), code_bias(gguf::Format::IQ4_NL)), out);
    out.Scale(0, HalfToFloat(LoadField(rows, 0)));
  }
};

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

QUERN_FORMAT_KERNELS(IQ4_NL)
