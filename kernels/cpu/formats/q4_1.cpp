// Q4_1: 4-bit codes, scale and minimum per 32 (spec: block formats).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/formats/q4_1.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/formats/nibbles-inl.h"

#if HWY_TARGET != HWY_SCALAR
HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

template <>
struct Unpacker<gguf::Format::Q4_1> {
  template <class From, class To>
  static HWY_INLINE void Block(const From& rows, To& out) {
    StoreNibbles(LoadWords(rows, 4), out);
    const V32 head = LoadWords(rows, 0).w[0];
    out.Scale(0, HalfToFloat(head));
    out.Min(0, hn::Neg(UpperHalfToFloat(head)));
  }
};

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

QUERN_FORMAT_KERNELS(Q4_1)
