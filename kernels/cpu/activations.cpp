#include "kernels/cpu/activations.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/cpu/aligned_buffer.h"
#include "kernels/cpu/f16.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/activations.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

// What 256 values have in common.
struct Unit {
  int32_t bits;  // of the largest magnitude
  float value;
  float inverse;  // 127 / largest; 0: all codes are

  explicit Unit(int32_t largest_bits) : bits(largest_bits) {
    float largest;
    std::memcpy(&largest, &bits, sizeof largest);
    const bool finite = bits < 0x7F800000;
    value =
        finite ? largest / 127.0f / float{1 << kMaxShift} : std::numeric_limits<float>::quiet_NaN();
    if (value < std::numeric_limits<float>::min()) value = 0;
    inverse = value > 0 ? 127.0f / largest : 0;
  }

  // Of a group with this largest magnitude, given as bits, too. The difference of two floats' bits
  // has the whole part of their ratio's logarithm above the 23 bits of the mantissa.
  int32_t shift(int32_t group_bits) const {
    return inverse > 0 ? kMaxShift - std::min((bits - group_bits) >> 23, kMaxShift) : 0;
  }
};

#if HWY_TARGET == HWY_SCALAR

int32_t LargestMagnitude(const float* x) {
  int32_t largest = 0;
  for (size_t i = 0; i < kActivationGroup; ++i) {
    int32_t bits;
    std::memcpy(&bits, x + i, sizeof bits);
    largest = std::max(largest, bits & 0x7FFFFFFF);
  }
  return largest;
}

int32_t QuantizeHalf(const float* x, float inverse, int8_t* codes) {
  int32_t sum = 0;
  for (size_t i = 0; i < kSumGroup; ++i) {
    codes[i] = static_cast<int8_t>(std::nearbyint(x[i] * inverse));
    sum += codes[i];
  }
  return sum;
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

// Codes of 16 values; returns their sum.
HWY_INLINE int32_t QuantizeHalf(const float* x, float inverse, int8_t* codes) {
  const DF d;
  const DI di;
  VI sum = hn::Zero(di);
  for (size_t i = 0; i < kSumGroup; i += kLanes) {
    const VI q = hn::NearestInt(hn::Mul(hn::LoadU(d, x + i), hn::Set(d, inverse)));
    const hn::Rebind<int8_t, DI> d8;
    hn::StoreU(hn::DemoteTo(d8, q), d8, codes + i);
    sum = hn::Add(sum, q);
  }
  return hn::GetLane(hn::SumOfLanes(di, sum));
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

// Group of 32 values of token t, whose largest magnitude is `magnitude`. Returns the sum of its
// codes, shifted. rest: what the codes leave, if wanted; may be x.
HWY_INLINE int16_t QuantizeGroup(const float* x, const Unit& unit, int32_t magnitude, size_t tokens,
                                 size_t t, std::byte* out, float* rest) {
  using Group = ActivationGroup;
  alignas(64) int8_t codes[kActivationGroup] = {};
  int16_t sums[2] = {};
  const int32_t shift = unit.shift(magnitude);
  const float inverse = unit.inverse * static_cast<float>(1 << (kMaxShift - shift));
  for (size_t half = 0; half < 2 && inverse > 0; ++half) {
    const size_t at = half * kSumGroup;
    sums[half] = static_cast<int16_t>(QuantizeHalf(x + at, inverse, codes + at));
  }
  for (size_t i = 0; i < kActivationGroup; i += 4) {
    std::memcpy(out + Group::code(tokens, t, i), codes + i, 4);
  }
  Put(unit.value, out + Group::unit(tokens, t));
  Put(sums, out + Group::sums(tokens, t));
  Put(shift, out + Group::shift(tokens, t));
  if (rest) {
    const float step = unit.value * static_cast<float>(1 << shift);
    for (size_t i = 0; i < kActivationGroup; ++i) rest[i] = std::fma(-step, codes[i], x[i]);
  }
  return static_cast<int16_t>((sums[0] + sums[1]) * (1 << shift));
}

// The groups of column t of `tokens` that share a unit.
HWY_INLINE void QuantizeUnit(const float* x, size_t groups, size_t tokens, size_t t, std::byte* out,
                             float* rest) {
  int32_t magnitudes[kUnitValues / kActivationGroup], largest = 0;
  for (size_t g = 0; g < groups; ++g) {
    magnitudes[g] = LargestMagnitude(x + g * kActivationGroup);
    largest = std::max(largest, magnitudes[g]);
  }
  const Unit unit(largest);
  const size_t group_bytes = tokens * ActivationGroup::kBytesPerToken;
  int16_t sums[kUnitValues / kActivationGroup + 1] = {};
  for (size_t g = 0; g < groups; ++g) {
    const size_t k = g * kActivationGroup;
    sums[g] = QuantizeGroup(x + k, unit, magnitudes[g], tokens, t, out + g * group_bytes,
                            rest ? rest + k : nullptr);
  }
  for (size_t g = 0; g < groups; g += 2) {
    std::memcpy(out + g * group_bytes + ActivationGroup::pair_sums(tokens, t), sums + g, 4);
  }
}

void QuantizeBlock(const float* x, size_t tokens, size_t planes, size_t values, std::byte* out) {
  const size_t columns = tokens * planes;
  assert(values % kActivationGroup == 0 && columns <= kTokenBlock);
  for (size_t k = 0; k < values; k += kUnitValues) {
    const size_t groups = std::min(kUnitValues, values - k) / kActivationGroup;
    for (size_t t = 0; t < tokens; ++t) {
      const float* row = x + t * values + k;
      float rest[kUnitValues];
      for (size_t plane = 0; plane < planes; ++plane, row = rest) {
        float* left = plane + 1 < planes ? rest : nullptr;
        QuantizeUnit(row, groups, columns, t * planes + plane, out, left);
      }
    }
    out += groups * columns * ActivationGroup::kBytesPerToken;
  }
}

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace quern::kernels::cpu {

HWY_EXPORT(QuantizeBlock);
HWY_EXPORT(RoundToHalves);

void quantize_block(const float* x, size_t tokens, size_t planes, size_t values, std::byte* out) {
  HWY_DYNAMIC_DISPATCH(QuantizeBlock)(x, tokens, planes, values, out);
}

void round_to_halves(const float* x, size_t values, uint16_t* out) {
  HWY_DYNAMIC_DISPATCH(RoundToHalves)(x, values, out);
  std::fill(out + values, out + halves_stride(values), uint16_t{0});
}

size_t InputForms::bytes(size_t values, size_t tokens) const {
  size_t bytes = 0;
  bytes += align_up(QuantizedLayout{values}.row_bytes() * planes * tokens);
  if (halves) bytes += align_up(halves_stride(values) * tokens * sizeof(uint16_t));
  return bytes;
}

}  // namespace quern::kernels::cpu
#endif
