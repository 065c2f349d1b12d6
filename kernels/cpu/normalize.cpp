#include "kernels/cpu/normalize.h"

#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/normalize.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr size_t kSums = 16;  // partial sums
using DF = hn::CappedTag<float, kSums>;
using VF = hn::Vec<DF>;
constexpr size_t kLanes = hn::MaxLanes(DF());

// Σ term(x[i]) in 16 parts by i mod 16, folded 8-4-2-1.
template <class Term>
HWY_INLINE float Sum(const float* x, size_t count, const Term& term) {
  const DF d;
  constexpr size_t kVectors = kSums / kLanes;
  VF vectors[kVectors];
  for (VF& v : vectors) v = hn::Zero(d);
  size_t i = 0;
  for (; i + kSums <= count; i += kSums) {
    for (size_t v = 0; v < kVectors; ++v) {
      vectors[v] = hn::Add(vectors[v], term(d, hn::LoadU(d, x + i + v * kLanes)));
    }
  }
  float sums[kSums];
  for (size_t v = 0; v < kVectors; ++v) hn::StoreU(vectors[v], d, sums + v * kLanes);
  const hn::CappedTag<float, 1> d1;
  for (; i < count; ++i) {
    const auto one = term(d1, hn::LoadU(d1, x + i));
    sums[i % kSums] += hn::GetLane(one);
  }
  for (size_t half = kSums / 2; half > 0; half /= 2) {
    for (size_t j = 0; j < half; ++j) sums[j] += sums[j + half];
  }
  return sums[0];
}

// y[i] = change(i, x[i]).
template <class Change>
HWY_INLINE void Map(const float* x, size_t count, float* y, const Change& change) {
  const DF d;
  size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    hn::StoreU(change(d, i, hn::LoadU(d, x + i)), d, y + i);
  }
  const hn::CappedTag<float, 1> d1;
  for (; i < count; ++i) hn::StoreU(change(d1, i, hn::LoadU(d1, x + i)), d1, y + i);
}

void Normalize(bool layer, float epsilon, const float* weight, const float* bias, const float* x,
               size_t count, float* y) {
  const auto size = static_cast<float>(count);
  const float mean = layer ? Sum(x, count, [](auto, auto v) HWY_ATTR { return v; }) / size : 0;
  const float squares = Sum(x, count, [&](auto d, auto v) HWY_ATTR {
    const auto from_mean = hn::Sub(v, hn::Set(d, mean));
    return hn::Mul(from_mean, from_mean);
  });
  const float scale = 1.0f / std::sqrt(squares / size + epsilon);
  Map(x, count, y, [&](auto d, size_t i, auto v) HWY_ATTR {
    v = hn::Mul(hn::Sub(v, hn::Set(d, mean)), hn::Set(d, scale));
    if (weight) v = hn::Mul(v, hn::LoadU(d, weight + i));
    return bias ? hn::Add(v, hn::LoadU(d, bias + i)) : v;
  });
}

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace quern::kernels::cpu {

HWY_EXPORT(Normalize);

void normalize(const Norm& norm, const NormWeights& weights, const float* x, size_t count,
               float* y) {
  HWY_DYNAMIC_DISPATCH(Normalize)
  (norm.kind == Norm::Kind::kLayer, norm.epsilon, weights.weight, weights.bias, x, count, y);
}

}  // namespace quern::kernels::cpu
#endif
