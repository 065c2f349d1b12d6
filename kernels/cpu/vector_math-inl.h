// Fused multiplication and addition, and the exponential, of vectors: one body for every
// instruction set.
#if defined(QUERN_VECTOR_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef QUERN_VECTOR_MATH_INL_H_
#undef QUERN_VECTOR_MATH_INL_H_
#else
#define QUERN_VECTOR_MATH_INL_H_
#endif

#include <hwy/highway.h>

#include <cmath>
#include <limits>

HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

// a * b + c, rounded once wherever there is an instruction for it, and in plain C++.
template <class V>
HWY_INLINE V Fma(V a, V b, V c) {
#if HWY_TARGET == HWY_SCALAR
  return V(std::fma(a.raw, b.raw, c.raw));
#else
  return hwy::HWY_NAMESPACE::MulAdd(a, b, c);
#endif
}

// exp(x) of f32 lanes: x = n ln 2 + r with |r| <= ln 2 / 2, then 2^n times a polynomial in r (the
// minimax one with 1 + r as its first terms, within 0.07 ulp). At most 1.5 ulp from the exact
// value; NaN stays NaN. Below the smallest normal number it is 0, from 88.3763 on infinity.
template <class D, class V = hwy::HWY_NAMESPACE::Vec<D>>
HWY_INLINE V Exp(D d, V x) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::RebindToSigned<D> di;
  // Adding 1.5 * 2^23 leaves the nearest integer in the low bits.
  const V shift = hn::Set(d, 12582912.0f);
  const V shifted = Fma(x, hn::Set(d, 1.44269504f), shift);
  const V n = hn::Sub(shifted, shift);
  V r = Fma(n, hn::Set(d, -0x1.62e4p-1f), x);  // ln 2 in two parts, the first exact in n
  r = Fma(n, hn::Set(d, -0x1.7f7d1cp-20f), r);
  V y = Fma(hn::Set(d, 0.00138145813f), r, hn::Set(d, 0.00836872496f));
  y = Fma(y, r, hn::Set(d, 0.0416683890f));
  y = Fma(y, r, hn::Set(d, 0.166665211f));
  y = Fma(y, r, hn::Set(d, 0.499999940f));
  y = Fma(y, r, hn::Set(d, 1.0f));
  y = Fma(y, r, hn::Set(d, 1.0f));
  y = hn::BitCast(d, hn::Add(hn::BitCast(di, y), hn::ShiftLeft<23>(hn::BitCast(di, shifted))));
  // Infinity and NaN where n does not fit an exponent above.
  const V infinity = hn::Set(d, std::numeric_limits<float>::infinity());
  y = hn::IfThenElse(hn::Lt(x, hn::Set(d, 88.3762589f)), y, hn::Add(x, infinity));
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, -87.3365402f)), y);
}

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
