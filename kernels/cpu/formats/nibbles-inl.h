// Four-bit codes in blocks of 32 values (spec: block formats, section 4).
#if defined(QUERN_FORMATS_NIBBLES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef QUERN_FORMATS_NIBBLES_INL_H_
#undef QUERN_FORMATS_NIBBLES_INL_H_
#else
#define QUERN_FORMATS_NIBBLES_INL_H_
#endif

#include "kernels/cpu/formats/unpacker-inl.h"

#if HWY_TARGET != HWY_SCALAR
HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

// 16 bytes of nibbles: the low ones are values 0 … 15, the high ones 16 … 31.
template <class To>
HWY_INLINE void StoreNibbles(const FourWords& qs, To& out) {
  Unroll<4>([&](auto j) QUERN_INLINE_LAMBDA {
    out.Codes(4 * j, LowNibbles(qs.w[j]));
    out.Codes(16 + 4 * j, HighNibbles(qs.w[j]));
  });
}

// The same with a fifth bit: bit i of each lane of `fifth` belongs to value i.
template <class To>
HWY_INLINE void StoreNibblesAndFifthBits(const FourWords& qs, V32 fifth, To& out) {
  V32 low_bits = hn::And(fifth, Splat(0xFFFF));
  V32 high_bits = hn::ShiftRight<16>(fifth);
  Unroll<4>([&](auto j) QUERN_INLINE_LAMBDA {
    const V32 low = hn::ShiftLeft<4>(SpreadBits(hn::And(low_bits, Splat(15))));
    const V32 high = hn::ShiftLeft<4>(SpreadBits(hn::And(high_bits, Splat(15))));
    out.Codes(4 * j, hn::Or(LowNibbles(qs.w[j]), low));
    out.Codes(16 + 4 * j, hn::Or(HighNibbles(qs.w[j]), high));
    low_bits = hn::ShiftRight<4>(low_bits);
    high_bits = hn::ShiftRight<4>(high_bits);
  });
}

template <class To>
HWY_INLINE void StoreLookedUpNibbles(const FourWords& qs, V32 table, To& out) {
  Unroll<4>([&](auto j) QUERN_INLINE_LAMBDA {
    out.Codes(4 * j, Lookup(table, LowNibbles(qs.w[j])));
    out.Codes(16 + 4 * j, Lookup(table, HighNibbles(qs.w[j])));
  });
}

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
#endif
