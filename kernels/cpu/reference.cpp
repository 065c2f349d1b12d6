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

// A row's sums of the current 256 values.
struct UnitSums {
  float block = 0, least = 0;
  int32_t products = 0, mins = 0;

  // Adds 32 values of a block, from value i on.
  void add(const gguf::FormatInfo& format, const UnpackedBlock& block_of, size_t i,
           const int8_t* codes, const int32_t* sums, int32_t shift) {
    const size_t g = i / 16;
    const int32_t factor = 1 << shift;
    const int32_t p[2] = {factor * dot16(block_of.codes + i, codes),
                          factor * dot16(block_of.codes + i + 16, codes + 16)};
    const int32_t x[2] = {factor * sums[0], factor * sums[1]};
    if (format.scale_group == 32) {
      block = std::fma(static_cast<float>(p[0] + p[1]), block_of.scale[g], block);
      least = std::fma(static_cast<float>(x[0] + x[1]), block_of.min[g], least);
    } else {
      for (size_t half = 0; half < 2; ++half) {
        block = std::fma(static_cast<float>(p[half]), block_of.scale[g + half], block);
      }
    }
    for (size_t half = 0; half < 2; ++half) {
      if (scales_codes(format.format)) products += p[half] * block_of.scale_codes[g + half];
      if (codes_minimums(format.format)) mins += x[half] * block_of.min_codes[g + half];
    }
  }

  // acc + these.
  float end(const gguf::FormatInfo& format, const UnpackedBlock& last, float unit,
            float acc) const {
    if (scales_codes(format.format)) {
      acc = std::fma(static_cast<float>(products) * unit, last.block_scale, acc);
    } else {
      acc = std::fma(block, unit, acc);
    }
    if (codes_minimums(format.format)) {
      return std::fma(-(static_cast<float>(mins) * unit), last.block_min, acc);
    }
    return format.has_minimum() ? std::fma(-least, unit, acc) : acc;
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
  float acc = 0;
  UnitSums unit;
  for (size_t start = 0; start < values; start += facts.block_values, row += facts.block_bytes) {
    UnpackedBlock block;
    unpack(format, row, block);
    for (size_t i = 0; i < facts.block_values; i += kActivationGroup) {
      const size_t k = start + i, next = k + kActivationGroup;
      unit.add(facts, block, i, x.codes + k, x.sums + k / kSumGroup,
               x.shifts[k / kActivationGroup]);
      if (next % kUnitValues != 0 && next != values) continue;
      acc = unit.end(facts, block, x.units[k / kUnitValues], acc);
      unit = {};
    }
  }
  return acc;
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
