#include "kernels/cpu/recurrent_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/recurrent_kernels.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::CappedTag<float, 16>;
using Vector = hn::Vec<Floats>;

// x[first …], zeros from `end` on.
HWY_INLINE Vector LoadPart(Floats d, const float* x, size_t first, size_t end) {
  if (first + hn::Lanes(d) <= end) return hn::LoadU(d, x + first);
  float padded[16] = {};
  for (size_t i = 0; first + i < end; ++i) padded[i] = x[first + i];
  return hn::LoadU(d, padded);
}

void SumConv(const ConvSum& sum) {
  const Floats d;
  const size_t lanes = hn::Lanes(d);
  float taps[16] = {}, y[16];
  for (size_t i = 0; i < sum.count; i += lanes) {
    const size_t count = HWY_MIN(lanes, sum.count - i);
    Vector total = sum.bias ? LoadPart(d, sum.bias, i, sum.count) : hn::Zero(d);
    for (size_t j = 0; j < sum.taps; ++j) {
      if (!sum.rows[j]) continue;
      Vector u = LoadPart(d, sum.rows[j], i, sum.count);
      if (sum.before[j]) u = hn::Mul(u, LoadPart(d, sum.before[j], i, sum.count));
      for (size_t l = 0; l < count; ++l) taps[l] = sum.weight[(i + l) * sum.taps + j];
      total = Fma(hn::LoadU(d, taps), u, total);
    }
    hn::StoreU(total, d, y);
    for (size_t l = 0; l < count; ++l) sum.out[i + l] = y[l];
  }
}

// Σ_r s[r] * x[r] for one vector of columns; rows are kStripColumns apart.
HWY_INLINE Vector Recall(Floats d, const float* s, size_t size, const float* x) {
  Vector a = hn::Zero(d), b = a, c = a, e = a;
  for (size_t r = 0; r < size; r += 4, s += 4 * kStripColumns) {
    a = Fma(hn::LoadU(d, s), hn::Set(d, x[r]), a);
    b = Fma(hn::LoadU(d, s + kStripColumns), hn::Set(d, x[r + 1]), b);
    c = Fma(hn::LoadU(d, s + 2 * kStripColumns), hn::Set(d, x[r + 2]), c);
    e = Fma(hn::LoadU(d, s + 3 * kStripColumns), hn::Set(d, x[r + 3]), e);
  }
  return hn::Add(hn::Add(a, c), hn::Add(b, e));
}

// s[r] = decay * s[r] + write[r] * u; returns Σ_r s[r] * read[r].
HWY_INLINE Vector Update(Floats d, const StripStep& step, size_t column, Vector u) {
  const Vector decay = hn::Set(d, step.decay);
  float* s = step.s + column;
  const auto one = [&](size_t r, Vector sum) HWY_ATTR {
    float* row = s + r * kStripColumns;
    const Vector updated = Fma(hn::Set(d, step.write[r]), u, hn::Mul(decay, hn::LoadU(d, row)));
    hn::StoreU(updated, d, row);
    return Fma(updated, hn::Set(d, step.read[r]), sum);
  };
  Vector a = hn::Zero(d), b = a, c = a, e = a;
  for (size_t r = 0; r < step.size; r += 4) {
    a = one(r, a);
    b = one(r + 1, b);
    c = one(r + 2, c);
    e = one(r + 3, e);
  }
  return hn::Add(hn::Add(a, c), hn::Add(b, e));
}

void DeltaStep(const StripStep& step, float beta, const float* v, float* out) {
  const Floats d;
  for (size_t c = 0; c < kStripColumns; c += hn::Lanes(d)) {
    const Vector recalled = Recall(d, step.s + c, step.size, step.write);
    const Vector error = Fma(hn::Set(d, -step.decay), recalled, hn::LoadU(d, v + c));
    hn::StoreU(Update(d, step, c, hn::Mul(hn::Set(d, beta), error)), d, out + c);
  }
}

void ScanStep(const StripStep& step, float delta, float skip, const float* x, float* out) {
  const Floats d;
  for (size_t c = 0; c < kStripColumns; c += hn::Lanes(d)) {
    const Vector in = hn::LoadU(d, x + c);
    const Vector y = Update(d, step, c, hn::Mul(hn::Set(d, delta), in));
    hn::StoreU(Fma(hn::Set(d, skip), in, y), d, out + c);
  }
}

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace quern::kernels::cpu {

HWY_EXPORT(SumConv);
HWY_EXPORT(DeltaStep);
HWY_EXPORT(ScanStep);

void conv_sum(const ConvSum& sum) { HWY_DYNAMIC_DISPATCH(SumConv)(sum); }

void delta_step(const StripStep& step, float beta, const float* v, float* out) {
  HWY_DYNAMIC_DISPATCH(DeltaStep)(step, beta, v, out);
}

void scan_step(const StripStep& step, float delta, float skip, const float* x, float* out) {
  HWY_DYNAMIC_DISPATCH(ScanStep)(step, delta, skip, x, out);
}

}  // namespace quern::kernels::cpu
#endif  // HWY_ONCE
