#include "kernels/cpu/vector_math.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/vector_math.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::CappedTag<float, 16>;
using Vector = hn::Vec<Floats>;

// Calls step(vectors...) on whole vectors of the inputs; what is left goes through padded copies.
// x = step(x, y), y may be null.
template <class Step>
HWY_INLINE void ForVectors(float* x, const float* y, size_t count, Step step) {
  const Floats d;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    hn::StoreU(step(hn::LoadU(d, x + i), y ? hn::LoadU(d, y + i) : hn::Zero(d)), d, x + i);
  }
  if (i == count) return;
  float x_padded[16] = {}, y_padded[16] = {};
  for (size_t j = 0; i + j < count; ++j) {
    x_padded[j] = x[i + j];
    if (y) y_padded[j] = y[i + j];
  }
  hn::StoreU(step(hn::LoadU(d, x_padded), hn::LoadU(d, y_padded)), d, x_padded);
  for (size_t j = 0; i + j < count; ++j) x[i + j] = x_padded[j];
}

void ExpShifted(float* x, size_t count, float shift) {
  const Floats d;
  const Vector by = hn::Set(d, shift);
  ForVectors(x, nullptr, count, [&](Vector v, Vector) HWY_ATTR { return Exp(d, hn::Sub(v, by)); });
}

// x / (1 + exp(minus_y)).
template <class D>
HWY_INLINE Vector TimesSigmoid(D d, Vector x, Vector minus_y) {
  return hn::Div(x, hn::Add(hn::Set(d, 1.0f), Exp(d, minus_y)));
}

// x where it lies below `most`, or is NaN.
template <class D>
HWY_INLINE Vector AtMost(D d, Vector x, float most) {
  return hn::IfThenElse(hn::Gt(x, hn::Set(d, most)), hn::Set(d, most), x);
}

// One activation of a vector; a gated unit multiplies it by up.
template <Activation activation, class D>
HWY_INLINE Vector Activated(D d, Vector x) {
  if constexpr (activation == Activation::kSilu) {
    return TimesSigmoid(d, x, hn::Neg(x));
  } else if constexpr (activation == Activation::kGelu) {
    // (1 + tanh(u)) / 2 = 1 / (1 + exp(-2u)) with u = sqrt(2 / pi) (x + 0.044715 x^3).
    const Vector cubic = Fma(hn::Mul(x, x), hn::Set(d, 0.044715f), hn::Set(d, 1.0f));
    return TimesSigmoid(d, x, hn::Mul(hn::Mul(x, hn::Set(d, -1.59576912f)), cubic));
  } else if constexpr (activation == Activation::kReluSquared) {
    const Vector positive = hn::IfThenZeroElse(hn::Lt(x, hn::Zero(d)), x);
    return hn::Mul(positive, positive);
  } else if constexpr (activation == Activation::kSigmoid) {
    return TimesSigmoid(d, hn::Set(d, 1.0f), hn::Neg(x));
  } else {
    static_assert(activation == Activation::kClampedSwiglu);
    const Vector gate = AtMost(d, x, 7);
    return TimesSigmoid(d, gate, hn::Mul(gate, hn::Set(d, -1.702f)));
  }
}

template <Activation activation>
void ActivateBy(float* x, const float* up, size_t count) {
  const Floats d;
  if (!up) {
    ForVectors(x, nullptr, count,
               [&](Vector g, Vector) HWY_ATTR { return Activated<activation>(d, g); });
  } else {
    ForVectors(x, up, count, [&](Vector g, Vector u) HWY_ATTR {
      if constexpr (activation == Activation::kClampedSwiglu) {
        u = hn::Neg(AtMost(d, hn::Neg(AtMost(d, u, 7)), 7));
        u = hn::Add(u, hn::Set(d, 1.0f));
      }
      return hn::Mul(Activated<activation>(d, g), u);
    });
  }
}

void Activate(Activation activation, float* x, const float* up, size_t count) {
  switch (activation) {
    case Activation::kNone:
      return;
    case Activation::kSilu:
      return ActivateBy<Activation::kSilu>(x, up, count);
    case Activation::kGelu:
      return ActivateBy<Activation::kGelu>(x, up, count);
    case Activation::kReluSquared:
      return ActivateBy<Activation::kReluSquared>(x, up, count);
    case Activation::kSigmoid:
      return ActivateBy<Activation::kSigmoid>(x, up, count);
    case Activation::kClampedSwiglu:
      return ActivateBy<Activation::kClampedSwiglu>(x, up, count);
  }
}

// tanh(x) for |x| < 0.625 as a polynomial (interpolated at Chebyshev nodes, within 0.1 ulp before
// rounding), elsewhere as 1 - 2 / (exp(2x) + 1).
template <class D>
HWY_INLINE Vector Tanh(D d, Vector x) {
  const Vector one = hn::Set(d, 1.0f), two = hn::Set(d, 2.0f);
  const Vector far = hn::Sub(one, hn::Div(two, hn::Add(Exp(d, hn::Mul(x, two)), one)));
  const Vector z = hn::Mul(x, x);
  Vector p = Fma(hn::Set(d, 0.00229274482f), z, hn::Set(d, -0.00834394552f));
  p = Fma(p, z, hn::Set(d, 0.0217689187f));
  p = Fma(p, z, hn::Set(d, -0.0539592596f));
  p = Fma(p, z, hn::Set(d, 0.133333036f));
  p = Fma(p, z, hn::Set(d, -0.333333332f));
  const Vector near = Fma(hn::Mul(x, z), p, x);
  return hn::IfThenElse(hn::Lt(hn::Abs(x), hn::Set(d, 0.625f)), near, far);
}

void ApplySoftCap(float* x, size_t count, float scale, float cap) {
  const Floats d;
  const Vector inner = hn::Set(d, scale / cap), outer = hn::Set(d, cap);
  ForVectors(x, nullptr, count,
             [&](Vector v, Vector) HWY_ATTR { return hn::Mul(outer, Tanh(d, hn::Mul(v, inner))); });
}

// No fma, so that the pairs left over may be turned one by one.
template <bool interleaved>
HWY_INLINE void Rotate(float* x, const float* cosines, const float* sines, size_t pairs) {
  const Floats d;
  size_t i = 0;
  for (; i + hn::Lanes(d) <= pairs; i += hn::Lanes(d)) {
    Vector a, b;
    if constexpr (interleaved) {
      hn::LoadInterleaved2(d, x + 2 * i, a, b);
    } else {
      a = hn::LoadU(d, x + i);
      b = hn::LoadU(d, x + pairs + i);
    }
    const Vector cosine = hn::LoadU(d, cosines + i), sine = hn::LoadU(d, sines + i);
    const Vector turned_a = hn::Sub(hn::Mul(a, cosine), hn::Mul(b, sine));
    const Vector turned_b = hn::Add(hn::Mul(a, sine), hn::Mul(b, cosine));
    if constexpr (interleaved) {
      hn::StoreInterleaved2(turned_a, turned_b, d, x + 2 * i);
    } else {
      hn::StoreU(turned_a, d, x + i);
      hn::StoreU(turned_b, d, x + pairs + i);
    }
  }
  for (; i < pairs; ++i) {
    float& a = x[interleaved ? 2 * i : i];
    float& b = x[interleaved ? 2 * i + 1 : i + pairs];
    const float turned = a * cosines[i] - b * sines[i];
    b = a * sines[i] + b * cosines[i];
    a = turned;
  }
}

void RotatePairs(float* x, const float* cosines, const float* sines, size_t pairs,
                 bool interleaved) {
  if (interleaved) {
    Rotate<true>(x, cosines, sines, pairs);
  } else {
    Rotate<false>(x, cosines, sines, pairs);
  }
}

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace quern::kernels::cpu {

HWY_EXPORT(ExpShifted);
HWY_EXPORT(Activate);
HWY_EXPORT(ApplySoftCap);
HWY_EXPORT(RotatePairs);

void exp_shifted(float* x, size_t count, float shift) {
  HWY_DYNAMIC_DISPATCH(ExpShifted)(x, count, shift);
}

void activate(Activation activation, float* x, const float* up, size_t count) {
  HWY_DYNAMIC_DISPATCH(Activate)(activation, x, up, count);
}

void soft_cap(float* x, size_t count, float scale, float cap) {
  HWY_DYNAMIC_DISPATCH(ApplySoftCap)(x, count, scale, cap);
}

void rotate_pairs(float* x, const float* cosines, const float* sines, size_t pairs,
                  bool interleaved) {
  HWY_DYNAMIC_DISPATCH(RotatePairs)(x, cosines, sines, pairs, interleaved);
}

}  // namespace quern::kernels::cpu
#endif  // HWY_ONCE
