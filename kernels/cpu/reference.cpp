#include "kernels/cpu/reference.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <numeric>
#include <type_traits>

#include "kernels/cpu/f16.h"
#include "kernels/cpu/matmul.h"
#include "kernels/cpu/panel.h"
#include "kernels/cpu/reference_blocks.h"

namespace quern::kernels::cpu::reference {
namespace {

using gguf::Format;
using gguf::Traits;

// Calls `action` with the format as a compile-time constant.
template <typename Action>
auto with_format(Format format, Action&& action) {
  switch (format) {
#define QUERN_FORMAT(name, ...) \
  case Format::name:            \
    return action(std::integral_constant<Format, Format::name>{});
#include "gguf/formats.def"
#undef QUERN_FORMAT
  }
  std::abort();  // not a Format: our own mistake
}

template <Format F>
typename Traits<F>::Block load(const std::byte* bytes) {
  typename Traits<F>::Block block;
  std::memcpy(&block, bytes, sizeof block);
  return block;
}

float to_float(const gguf::BlockF32& block) {
  float value;
  std::memcpy(&value, block.bytes, sizeof value);
  return value;
}
float to_float(const gguf::BlockF16& block) { return f16_to_f32(block.bits); }
float to_float(const gguf::BlockBF16& block) { return bf16_to_f32(block.bits); }

// Sum of 16 products of codes.
int32_t dot16(const int8_t* w, const int8_t* x) {
  int32_t sum = 0;
  for (size_t i = 0; i < 16; ++i) sum += w[i] * x[i];
  return sum;
}

// The two chains of dot_quantized.
struct Chains {
  float acc = 0, mins = 0;
  float block = 0;             // of the current 256 values
  int32_t dots = 0, sums = 0;  // the same, of formats with scaled codes

  // Adds 32 values: integer products p and activation sums x per 16, what they are shifted by, and
  // the unit.
  void add_shared(int32_t p, int32_t x, float scale, float min, int32_t shift, float unit) {
    block = std::fma(static_cast<float>(p * (1 << shift)), scale, block);
    mins = std::fma(min, static_cast<float>(x * (1 << shift)) * unit, mins);
  }
  void add_pair(const int32_t (&p)[2], const float* scale, int32_t shift) {
    block = std::fma(static_cast<float>(p[0] * (1 << shift)), scale[0], block);
    block = std::fma(static_cast<float>(p[1] * (1 << shift)), scale[1], block);
  }
  void add_scaled(const int32_t (&p)[2], const int32_t* x, const int32_t* scale, const int32_t* min,
                  int32_t shift) {
    dots += (p[0] * scale[0] + p[1] * scale[1]) * (1 << shift);
    sums += (x[0] * min[0] + x[1] * min[1]) * (1 << shift);
  }
  // Ends 256 values.
  void end_unit(float unit) {
    acc = std::fma(block, unit, acc);
    block = 0;
  }
  void end_scaled(float unit, float scale, float min) {
    acc = std::fma(static_cast<float>(dots) * unit, scale, acc);
    mins = std::fma(static_cast<float>(sums) * unit, min, mins);
    dots = sums = 0;
  }
};

}  // namespace

void unpack(Format format, const std::byte* block, UnpackedBlock& out) {
  with_format(format, [&](auto f) {
    if constexpr (Traits<f>::kScaleGroup > 0) {
      unpack(load<f>(block), out);
    } else {
      assert(!"a float format has no codes");
    }
  });
}

void decode_row(Format format, const std::byte* row, float* out, size_t values) {
  with_format(format, [&](auto f) {
    constexpr size_t kValues = Traits<f>::kValues;
    assert(values % kValues == 0);
    for (; values > 0; values -= kValues, out += kValues, row += Traits<f>::kBytes) {
      if constexpr (Traits<f>::kScaleGroup == 0) {
        *out = to_float(load<f>(row));
      } else {
        UnpackedBlock block;
        unpack(load<f>(row), block);
        for (size_t i = 0; i < kValues; ++i) {
          out[i] = block.scale[i / 16] * static_cast<float>(block.codes[i]) - block.min[i / 16];
        }
      }
    }
  });
}

namespace {

// Magnitudes as bits: they order like the numbers, infinity and NaN above all finite ones.
uint32_t largest_magnitude(const float* x, size_t values) {
  uint32_t largest = 0;
  for (size_t i = 0; i < values; ++i) {
    largest = std::max(largest, std::bit_cast<uint32_t>(x[i]) & 0x7FFFFFFF);
  }
  return largest;
}

// The smallest shift whose step covers a group.
int32_t group_shift(float group, float largest) {
  int32_t shift = kMaxShift;
  while (shift > 0 && group <= largest * std::ldexp(1.0f, shift - 1 - kMaxShift)) --shift;
  return shift;
}

// The values of one unit.
void quantize_unit(const float* x, size_t values, int8_t* codes, int32_t* shifts, float& unit) {
  const uint32_t bits = largest_magnitude(x, values);
  const bool finite = bits < 0x7F800000;
  const auto largest = std::bit_cast<float>(bits);
  unit =
      finite ? largest / 127.0f / float{1 << kMaxShift} : std::numeric_limits<float>::quiet_NaN();
  if (unit < std::numeric_limits<float>::min()) unit = 0;
  for (size_t k = 0; k < values; k += kActivationGroup) {
    const auto group = std::bit_cast<float>(largest_magnitude(x + k, kActivationGroup));
    const int32_t shift = unit > 0 ? group_shift(group, largest) : 0;
    shifts[k / kActivationGroup] = shift;
    const float inverse = unit > 0 ? std::ldexp(127.0f / largest, kMaxShift - shift) : 0;
    for (size_t i = k; i < k + kActivationGroup; ++i) {
      codes[i] = finite ? static_cast<int8_t>(std::nearbyint(x[i] * inverse)) : int8_t{0};
    }
  }
}

}  // namespace

void quantize_row(const float* x, size_t values, const QuantizedRow& out) {
  assert(values % kActivationGroup == 0);
  for (size_t k = 0; k < values; k += kUnitValues) {
    quantize_unit(x + k, std::min(kUnitValues, values - k), out.codes + k,
                  out.shifts + k / kActivationGroup, out.units[k / kUnitValues]);
  }
  for (size_t k = 0; k < values; k += kSumGroup) {
    out.sums[k / kSumGroup] = std::accumulate(out.codes + k, out.codes + k + kSumGroup, int32_t{0});
  }
}

float dot_quantized(Format format, const std::byte* row, const QuantizedRow& x, size_t values) {
  const gguf::FormatInfo& facts = gguf::info(format);
  assert(!facts.is_float() && values % facts.block_values == 0);
  Chains chains;
  for (size_t start = 0; start < values; start += facts.block_values, row += facts.block_bytes) {
    UnpackedBlock block;
    unpack(format, row, block);
    for (size_t i = 0; i < facts.block_values; i += kActivationGroup) {
      const size_t k = start + i, g = i / 16;
      const int8_t* codes = x.codes + k;
      const int32_t* sums = x.sums + k / kSumGroup;
      const int32_t shift = x.shifts[k / kActivationGroup];
      const float unit = x.units[k / kUnitValues];
      const bool ends = (k + kActivationGroup) % kUnitValues == 0 || k + kActivationGroup == values;
      const int32_t p[2] = {dot16(block.codes + i, codes), dot16(block.codes + i + 16, codes + 16)};
      if (scales_codes(format)) {
        chains.add_scaled(p, sums, block.scale_codes + g, block.min_codes + g, shift);
        if (ends) chains.end_scaled(unit, block.block_scale, block.block_min);
        continue;
      }
      if (facts.scale_group == 32) {
        chains.add_shared(p[0] + p[1], sums[0] + sums[1], block.scale[g], block.min[g], shift,
                          unit);
      } else {
        chains.add_pair(p, block.scale + g, shift);
      }
      if (ends) chains.end_unit(unit);
    }
  }
  return chains.acc - chains.mins;
}

namespace {

float without_subnormal(float x) { return std::fpclassify(x) == FP_SUBNORMAL ? 0 * x : x; }

float dot_bf16(const std::byte* row, const float* x, size_t values) {
  float acc = 0;
  for (size_t begin = 0; begin < values; begin += kFloatChain) {
    const size_t end = std::min(begin + kFloatChain, values);
    float chain = 0;
    for (size_t i = begin; i < end + (end - begin) % 2; ++i) {
      const size_t k = i ^ 1;  // of a pair, the second comes first
      if (k >= end) continue;
      const float weight = bf16_to_f32(load<Format::BF16>(row + k * sizeof(uint16_t)).bits);
      const float input = bf16_to_f32(f32_to_bf16(x[k]));
      chain =
          without_subnormal(std::fma(without_subnormal(weight), without_subnormal(input), chain));
    }
    acc = without_subnormal(acc + chain);
  }
  return acc;
}

}  // namespace

float dot_float(Format format, const std::byte* row, const float* x, size_t values) {
  const gguf::FormatInfo& facts = gguf::info(format);
  assert(facts.is_float());
  if (format == Format::BF16) return dot_bf16(row, x, values);
  float acc = 0;
  for (size_t begin = 0; begin < values; begin += kFloatChain) {
    float chain = 0;
    for (size_t k = begin; k < std::min(begin + kFloatChain, values); ++k) {
      float weight;
      decode_row(format, row + k * facts.block_bytes, &weight, 1);
      chain = std::fma(weight, x[k], chain);
    }
    acc += chain;
  }
  return acc;
}

}  // namespace quern::kernels::cpu::reference
