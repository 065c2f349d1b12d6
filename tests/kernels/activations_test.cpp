#include "kernels/cpu/activations.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "kernels/cpu/aligned_buffer.h"
#include "kernels/cpu/reference.h"
#include "tests/kernels/targets.h"

namespace quern::kernels::cpu {
namespace {

// One token's quantized activations, value by value.
struct Quantized {
  explicit Quantized(size_t values)
      : codes(values),
        shifts(values / kActivationGroup),
        units((values + kUnitValues - 1) / kUnitValues),
        sums(values / kSumGroup) {}

  reference::QuantizedRow row() { return {codes.data(), shifts.data(), units.data(), sums.data()}; }
  // What one code of value k's group is worth.
  double step(size_t k) const {
    return std::ldexp(units[k / kUnitValues], shifts[k / kActivationGroup]);
  }

  std::vector<int8_t> codes;
  std::vector<int32_t> shifts;
  std::vector<float> units;
  std::vector<int32_t> sums;
};

template <typename T>
T read(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

// What a block of so many columns says of one.
Quantized read_column(const std::byte* block, size_t values, size_t columns, size_t column) {
  using Group = ActivationGroup;
  Quantized found(values);
  for (size_t g = 0; g < found.shifts.size(); ++g) {
    const std::byte* group = block + g * columns * Group::kBytesPerToken;
    const float unit = read<float>(group + Group::unit(columns, column));
    found.units[g * kActivationGroup / kUnitValues] = unit;
    found.shifts[g] = read<int32_t>(group + Group::shift(columns, column));
    for (size_t k = 0; k < kActivationGroup; ++k) {
      const auto code = read<int8_t>(group + Group::code(columns, column, k));
      found.codes[g * kActivationGroup + k] = code;
    }
    for (size_t half = 0; half < 2; ++half) {
      const auto sum = read<int16_t>(group + Group::sums(columns, column) + 2 * half);
      found.sums[2 * g + half] = sum;
    }
    const size_t even = g / 2 * 2;
    const auto both = read<int16_t>(block + even * columns * Group::kBytesPerToken +
                                    Group::pair_sums(columns, column) + 2 * (g % 2));
    EXPECT_EQ(both, (found.sums[2 * g] + found.sums[2 * g + 1]) * (1 << found.shifts[g]));
  }
  return found;
}

// quantize_block for `tokens` copies of x, each one multiplied by a power of two; what it says of
// a plane of the last token, whose factor is 1.
Quantized quantize_last(const std::vector<float>& x, size_t tokens, size_t planes = 1,
                        size_t plane = 0) {
  std::vector<float> rows;
  for (size_t t = 0; t < tokens; ++t) {
    for (const float value : x) rows.push_back(std::ldexp(value, static_cast<int>(tokens - 1 - t)));
  }
  const size_t columns = tokens * planes;
  const auto memory = *AlignedBuffer::allocate(columns * QuantizedLayout{x.size()}.row_bytes());
  quantize_block(rows.data(), tokens, planes, x.size(), memory.data());
  return read_column(memory.data(), x.size(), columns, columns - planes + plane);
}
Quantized quantize(const std::vector<float>& x) { return quantize_last(x, 1); }

// Magnitudes from subnormal to large, some groups zero, some with ties.
std::vector<float> varied_row(size_t values) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  std::vector<float> x(values);
  for (size_t k = 0; k < values; ++k) {
    const int exponent = static_cast<int>(k / 32 % 9) * 30 - 149;
    x[k] = std::ldexp(normal(random), exponent);
    if (k / 32 % 7 == 3) x[k] = 0;
    if (k / 32 % 7 == 5) x[k] = static_cast<float>(k % 128) - (k % 2 ? 127.0f : 0.5f);
  }
  return x;
}

Quantized scalar(const std::vector<float>& x) {
  Quantized row(x.size());
  reference::quantize_row(x.data(), x.size(), row.row());
  return row;
}

void expect_equal(const Quantized& found, const Quantized& expected) {
  EXPECT_EQ(found.codes, expected.codes);
  EXPECT_EQ(found.shifts, expected.shifts);
  EXPECT_EQ(found.units, expected.units);
  EXPECT_EQ(found.sums, expected.sums);
}

TEST(QuantizeBlock, equalsTheScalarVersionOnEveryInstructionSetForAnyNumberOfTokens) {
  const auto x = varied_row(2048 + 96);
  const Quantized expected = scalar(x);
  test::for_each_instruction_set([&](bool) {
    for (const size_t tokens : {1, 2, 4, 8}) expect_equal(quantize_last(x, tokens), expected);
  });
}

TEST(QuantizeBlock, keepsInASecondPlaneWhatTheFirstOneLeaves) {
  const auto x = varied_row(2048 + 96);
  const Quantized first = scalar(x);
  std::vector<float> rest;
  for (size_t k = 0; k < x.size(); ++k) {
    rest.push_back(std::fma(-static_cast<float>(first.step(k)), first.codes[k], x[k]));
  }
  const Quantized second = scalar(rest);
  test::for_each_instruction_set([&](bool) {
    for (const size_t tokens : {1, 2, 4}) {
      expect_equal(quantize_last(x, tokens, 2, 0), first);
      expect_equal(quantize_last(x, tokens, 2, 1), second);
    }
  });
}

TEST(QuantizeBlock, isWithinHalfAStepWhichIsLessThanTwiceTheLeastPossible) {
  std::mt19937 random(8);
  std::normal_distribution<float> normal;
  std::vector<float> x(512);
  for (size_t k = 0; k < x.size(); ++k)
    x[k] = std::ldexp(normal(random), static_cast<int>(k / 96 % 3));
  const Quantized q = quantize(x);
  for (size_t g = 0; g < x.size(); g += 32) {
    float largest = 0;
    for (size_t k = g; k < g + 32; ++k) {
      EXPECT_NEAR(q.codes[k] * q.step(k), x[k], 0.5001 * q.step(k));
      largest = std::max(largest, std::abs(x[k]));
    }
    EXPECT_LT(q.step(g), 2.0001 * largest / 127);
    EXPECT_GT(q.step(g), 0.9999 * largest / 127);
  }
  for (size_t g = 0; g < x.size(); g += 16) {
    int sum = 0;
    for (size_t k = g; k < g + 16; ++k) sum += q.codes[k];
    EXPECT_EQ(q.sums[g / 16], sum);
  }
}

TEST(QuantizeBlock, givesTheLargestGroupOfAUnitTheWholeRangeAndTinyOnesTheSmallestStep) {
  std::vector<float> x(288, 1e-6f);
  x[100] = -5.0f;
  const Quantized q = quantize(x);
  EXPECT_EQ(q.codes[100], -127);
  EXPECT_EQ(q.shifts[3], kMaxShift);
  EXPECT_EQ(q.shifts[0], 0);
  EXPECT_EQ(q.codes[0], 0);
  EXPECT_EQ(q.codes[256], 127);  // a unit of its own
}

TEST(QuantizeBlock, roundsTiesToEven) {
  std::vector<float> x(32, 0.0f);
  x[0] = 127.0f;
  x[1] = 2.5f;
  x[2] = 3.5f;
  x[3] = -2.5f;
  const Quantized q = quantize(x);
  EXPECT_EQ(q.step(0), 1.0);
  EXPECT_EQ(q.codes[1], 2);
  EXPECT_EQ(q.codes[2], 4);
  EXPECT_EQ(q.codes[3], -2);
}

TEST(QuantizeBlock, showsNotANumberAndInfinityInTheUnitOfTheir256Values) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    std::vector<float> x(768, 1.0f);
    x[300] = bad;
    test::for_each_instruction_set([&](bool) {
      const Quantized q = quantize(x);
      EXPECT_EQ(q.codes[0], 127);
      EXPECT_TRUE(std::isnan(q.units[1]));
      EXPECT_TRUE(std::all_of(&q.codes[256], &q.codes[512], [](int c) { return c == 0; }));
      EXPECT_EQ(q.sums[18], 0);
      EXPECT_EQ(q.codes[512], 127);
    });
  }
}

TEST(QuantizeBlock, treatsValuesWithASubnormalUnitAsZero) {
  std::vector<float> x(32, 1e-36f);
  x[0] = 1.1e-35f;  // unit 1.08e-38
  const Quantized q = quantize(x);
  EXPECT_EQ(q.units[0], 0);
  EXPECT_EQ(q.codes[0], 0);
}

}  // namespace
}  // namespace quern::kernels::cpu
