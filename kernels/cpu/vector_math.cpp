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

void SiluMultiply(float* gate, const float* up, size_t count) {
  const Floats d;
  ForVectors(gate, up, count, [&](Vector g, Vector u) HWY_ATTR {
    const Vector one_plus = hn::Add(hn::Set(d, 1.0f), Exp(d, hn::Neg(g)));
    return hn::Mul(hn::Div(g, one_plus), u);
  });
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
HWY_EXPORT(SiluMultiply);
HWY_EXPORT(RotatePairs);

void exp_shifted(float* x, size_t count, float shift) {
  HWY_DYNAMIC_DISPATCH(ExpShifted)(x, count, shift);
}

void silu_multiply(float* gate, const float* up, size_t count) {
  HWY_DYNAMIC_DISPATCH(SiluMultiply)(gate, up, count);
}

void rotate_pairs(float* x, const float* cosines, const float* sines, size_t pairs,
                  bool interleaved) {
  HWY_DYNAMIC_DISPATCH(RotatePairs)(x, cosines, sines, pairs, interleaved);
}

}  // namespace quern::kernels::cpu
#endif  // HWY_ONCE
