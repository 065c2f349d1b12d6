// Q5_0: 5-bit codes, one scale per 32 (spec: block formats).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/formats/q5_0.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/formats/nibbles-inl.h"

#if HWY_TARGET != HWY_SCALAR
HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

template <>
struct Unpacker<gguf::Format::Q5_0> {
  static constexpr std::array kOrder = std::to_array<Segment>({{2, 4}, {6, 16}, {0, 2}});

  template <class From, class To>
  static HWY_INLINE void Block(const From& rows, To& out) {
    StoreNibblesAndFifthBits(LoadWords(rows, 6), LoadWords(rows, 2).w[0], out);
    out.Scale(0, HalfToFloat(LoadField(rows, 0)));
  }
};

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

QUERN_FORMAT_KERNELS(Q5_0)
