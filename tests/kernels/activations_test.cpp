#include "kernels/cpu/activations.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "kernels/cpu/aligned_buffer.h"
#include "kernels/cpu/reference.h"
#include "tests/kernels/targets.h"

namespace quern::kernels::cpu {
namespace {

struct Quantized {
  explicit Quantized(size_t values)
      : memory(*AlignedBuffer::allocate(QuantizedLayout{values}.row_bytes())),
        row(QuantizedLayout{values}.row(memory.data(), 0)) {}
  AlignedBuffer memory;
  QuantizedRow row;
};

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

TEST(QuantizeRow, equalsTheScalarVersionOnEveryInstructionSet) {
  const auto x = varied_row(2048);
  Quantized expected(x.size());
  reference::quantize_row(x.data(), x.size(), expected.row);
  test::for_each_instruction_set([&](bool) {
    Quantized found(x.size());
    quantize_row(x.data(), x.size(), found.row);
    for (size_t k = 0; k < x.size(); ++k) {
      ASSERT_EQ(found.row.codes[k], expected.row.codes[k]) << k;
      ASSERT_EQ(found.row.scales[k / 32], expected.row.scales[k / 32]) << k;
      ASSERT_EQ(found.row.sums[k / 16], expected.row.sums[k / 16]) << k;
    }
  });
}

TEST(QuantizeRow, isWithinHalfAStepAndUsesTheWholeRange) {
  std::mt19937 random(8);
  std::normal_distribution<float> normal;
  std::vector<float> x(512);
  for (float& value : x) value = normal(random);
  Quantized q(x.size());
  quantize_row(x.data(), x.size(), q.row);
  for (size_t g = 0; g < x.size(); g += 32) {
    int largest = 0;
    for (size_t k = g; k < g + 32; ++k) {
      const double scale = q.row.scales[k / 32];
      EXPECT_NEAR(q.row.codes[k] * scale, x[k], 0.5001 * scale);
      largest = std::max(largest, std::abs(int{q.row.codes[k]}));
    }
    EXPECT_EQ(largest, 127);
  }
  for (size_t g = 0; g < x.size(); g += 16) {
    int sum = 0;
    for (size_t k = g; k < g + 16; ++k) sum += q.row.codes[k];
    EXPECT_EQ(q.row.sums[g / 16], sum);
  }
}

TEST(QuantizeRow, roundsTiesToEven) {
  std::vector<float> x(32, 0.0f);
  x[0] = 127.0f;
  x[1] = 2.5f;
  x[2] = 3.5f;
  x[3] = -2.5f;
  Quantized q(x.size());
  quantize_row(x.data(), x.size(), q.row);
  EXPECT_EQ(q.row.scales[0], 1.0f);
  EXPECT_EQ(q.row.codes[1], 2);
  EXPECT_EQ(q.row.codes[2], 4);
  EXPECT_EQ(q.row.codes[3], -2);
}

TEST(QuantizeRow, showsNotANumberAndInfinityInTheScaleOfTheirGroup) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    std::vector<float> x(96, 1.0f);
    x[40] = bad;
    test::for_each_instruction_set([&](bool) {
      Quantized q(x.size());
      quantize_row(x.data(), x.size(), q.row);
      EXPECT_EQ(q.row.codes[0], 127);
      EXPECT_TRUE(std::isnan(q.row.scales[1]));
      EXPECT_TRUE(std::all_of(q.row.codes + 32, q.row.codes + 64, [](int c) { return c == 0; }));
      EXPECT_EQ(q.row.sums[2], 0);
      EXPECT_EQ(q.row.codes[64], 127);
    });
  }
}

TEST(QuantizeRow, treatsValuesWithSubnormalScaleAsZero) {
  std::vector<float> x(32, 1e-37f);
  x[0] = 1.2e-36f;  // scale 9.4e-39
  Quantized q(x.size());
  quantize_row(x.data(), x.size(), q.row);
  EXPECT_EQ(q.row.scales[0], 0);
  EXPECT_EQ(q.row.codes[0], 0);
}

}  // namespace
}  // namespace quern::kernels::cpu
