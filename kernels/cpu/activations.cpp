#include "kernels/cpu/activations.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <limits>

#include "kernels/cpu/aligned_buffer.h"
#include "kernels/cpu/f16.h"
#include "kernels/cpu/reference.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/activations.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR

HWY_INLINE float QuantizeGroup(const float* x, int8_t* codes, int16_t* sums) {
  float scale;
  int32_t wide[2];
  reference::quantize_row(x, kActivationGroup, {codes, &scale, wide});
  for (size_t half = 0; half < 2; ++half) sums[half] = static_cast<int16_t>(wide[half]);
  return scale;
}

void RoundToHalves(const float* x, size_t count, uint16_t* out) {
  for (size_t i = 0; i < count; ++i) out[i] = f32_to_bf16(x[i]);
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

// 32 values; returns their scale.
HWY_INLINE float QuantizeGroup(const float* x, int8_t* codes, int16_t* sums) {
  const float scale = GroupScale(LargestMagnitude(x));
  for (size_t half = 0; half < 2; ++half, x += kSumGroup, codes += kSumGroup) {
    if (scale > 0) {
      sums[half] = static_cast<int16_t>(QuantizeHalf(x, scale, codes));
    } else {  // zero or NaN
      std::fill_n(codes, kSumGroup, int8_t{0});
      sums[half] = 0;
    }
  }
  return scale;
}

// Round to nearest even by integer arithmetic, as f32_to_bf16 does; NaN becomes quiet.
void RoundToHalves(const float* x, size_t count, uint16_t* out) {
  const DI di;
  const hn::RebindToUnsigned<DI> du;
  for (size_t i = 0; i + kLanes <= count; i += kLanes) {
    const auto bits = hn::BitCast(du, hn::LoadU(DF(), x + i));
    const auto upper = hn::ShiftRight<16>(bits);
    const auto odd = hn::And(upper, hn::Set(du, 1));
    const auto rounded = hn::ShiftRight<16>(hn::Add(bits, hn::Add(odd, hn::Set(du, 0x7FFF))));
    const auto magnitude = hn::BitCast(di, hn::And(bits, hn::Set(du, 0x7FFFFFFF)));
    const auto nan = hn::RebindMask(du, hn::Gt(magnitude, hn::Set(di, 0x7F800000)));
    const auto halves = hn::IfThenElse(nan, hn::Or(upper, hn::Set(du, 0x40)), rounded);
    const hn::Rebind<uint16_t, DF> d16;
    hn::StoreU(hn::TruncateTo(d16, halves), d16, out + i);
  }
  for (size_t i = count / kLanes * kLanes; i < count; ++i) out[i] = f32_to_bf16(x[i]);
}

#endif

template <typename T>
HWY_INLINE void Put(const T& value, std::byte* at) {
  std::memcpy(at, &value, sizeof value);
}

void QuantizeBlock(const float* x, size_t tokens, size_t values, std::byte* out) {
  using Group = ActivationGroup;
  assert(values % kActivationGroup == 0 && tokens <= kTokenBlock);
  for (size_t k = 0; k < values; k += kActivationGroup, out += tokens * Group::kBytesPerToken) {
    for (size_t t = 0; t < tokens; ++t) {
      alignas(64) int8_t codes[kActivationGroup];
      int16_t sums[2];
      const float scale = QuantizeGroup(x + t * values + k, codes, sums);
      for (size_t i = 0; i < kActivationGroup; i += 4) {
        std::memcpy(out + Group::code(tokens, t, i), codes + i, 4);
      }
      Put(scale, out + Group::scale(tokens, t));
      Put(static_cast<float>(sums[0] + sums[1]) * scale, out + Group::scaled_sum(tokens, t));
      Put(sums, out + Group::sums(tokens, t));
    }
  }
}

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace quern::kernels::cpu {

HWY_EXPORT(QuantizeBlock);
HWY_EXPORT(RoundToHalves);

void quantize_block(const float* x, size_t tokens, size_t values, std::byte* out) {
  HWY_DYNAMIC_DISPATCH(QuantizeBlock)(x, tokens, values, out);
}

void round_to_halves(const float* x, size_t values, uint16_t* out) {
  HWY_DYNAMIC_DISPATCH(RoundToHalves)(x, values, out);
  std::fill(out + values, out + halves_stride(values), uint16_t{0});
}

size_t InputForms::bytes(size_t values, size_t tokens) const {
  size_t bytes = 0;
  if (quantized) bytes += align_up(QuantizedLayout{values}.row_bytes() * tokens);
  if (halves) bytes += align_up(halves_stride(values) * tokens * sizeof(uint16_t));
  return bytes;
}

}  // namespace quern::kernels::cpu
#endif
