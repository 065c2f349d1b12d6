#include "kernels/cpu/activations.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <limits>

#include "kernels/cpu/reference.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/activations.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR

void QuantizeRow(const float* x, size_t values, const QuantizedRow& out) {
  reference::quantize_row(x, values, out);
}

#else

namespace hn = hwy::HWY_NAMESPACE;
using DF = hn::CappedTag<float, kSumGroup>;
using DI = hn::RebindToSigned<DF>;
using VI = hn::Vec<DI>;
constexpr size_t kLanes = hn::MaxLanes(DF());

// The largest magnitude of a group, as bits: they order like the numbers, infinity and NaN above
// all finite ones.
HWY_INLINE int32_t LargestMagnitude(const float* x) {
  const DI di;
  VI largest = hn::Zero(di);
  for (size_t i = 0; i < kActivationGroup; i += kLanes) {
    const VI bits = hn::BitCast(di, hn::LoadU(DF(), x + i));
    largest = hn::Max(largest, hn::And(bits, hn::Set(di, 0x7FFFFFFF)));
  }
  return hn::GetLane(hn::MaxOfLanes(di, largest));
}

HWY_INLINE float GroupScale(int32_t magnitude) {
  if (magnitude >= 0x7F800000) return std::numeric_limits<float>::quiet_NaN();
  float largest;
  std::memcpy(&largest, &magnitude, sizeof largest);
  const float scale = largest / 127.0f;
  return scale < std::numeric_limits<float>::min() ? 0.0f : scale;
}

// Codes of 16 values; returns their sum.
HWY_INLINE int32_t QuantizeHalf(const float* x, float scale, int8_t* codes) {
  const DF d;
  const DI di;
  VI sum = hn::Zero(di);
  for (size_t i = 0; i < kSumGroup; i += kLanes) {
    const VI q = hn::NearestInt(hn::Div(hn::LoadU(d, x + i), hn::Set(d, scale)));
    const hn::Rebind<int8_t, DI> d8;
    hn::StoreU(hn::DemoteTo(d8, q), d8, codes + i);
    sum = hn::Add(sum, q);
  }
  return hn::GetLane(hn::SumOfLanes(di, sum));
}

void QuantizeRow(const float* x, size_t values, const QuantizedRow& out) {
  assert(values % kActivationGroup == 0);
  for (size_t k = 0; k < values; k += kActivationGroup) {
    const float scale = GroupScale(LargestMagnitude(x + k));
    out.scales[k / kActivationGroup] = scale;
    int32_t* sums = out.sums + k / kSumGroup;
    if (scale > 0) {
      sums[0] = QuantizeHalf(x + k, scale, out.codes + k);
      sums[1] = QuantizeHalf(x + k + kSumGroup, scale, out.codes + k + kSumGroup);
    } else {  // zero or NaN
      std::fill(out.codes + k, out.codes + k + kActivationGroup, int8_t{0});
      sums[0] = sums[1] = 0;
    }
  }
}

#endif
}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace quern::kernels::cpu {

HWY_EXPORT(QuantizeRow);

void quantize_row(const float* x, size_t values, const QuantizedRow& out) {
  HWY_DYNAMIC_DISPATCH(QuantizeRow)(x, values, out);
}

}  // namespace quern::kernels::cpu
#endif
