// greedy and top_k against sorting, on logits with ties, both zeros, infinities and NaN.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "shaders/shared.h"
#include "tests/kernels/vulkan/shader_test.h"

namespace quern::kernels::vulkan {
namespace {

using test::Floats;

constexpr uint32_t kPadding = 5;  // logits of a row that are no tokens
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Indices from the best; NaN is the lowest.
std::vector<uint32_t> sorted(const float* logits, uint32_t count) {
  std::vector<uint32_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&](uint32_t a, uint32_t b) {
    if (std::isnan(logits[b])) return !std::isnan(logits[a]);
    return logits[a] > logits[b];
  });
  return order;
}

// Rows of different kinds of difficulty.
Floats hard_rows(uint32_t vocabulary) {
  std::mt19937 random(9);
  Floats normal = test::normal(vocabulary, random), few(vocabulary), zeros(vocabulary);
  normal[vocabulary / 2] = NAN;
  normal[vocabulary / 3] = kInfinity;
  for (uint32_t i = 0; i < vocabulary; ++i) {
    few[i] = static_cast<float>(random() % 5) - 2;
    zeros[i] = i % 2 ? 0.0f : -0.0f;
  }
  const Floats lowest(vocabulary, -kInfinity), nan(vocabulary, NAN);
  Floats rows;
  for (const Floats& row : {normal, few, zeros, lowest, nan}) {
    rows.insert(rows.end(), row.begin(), row.end());
  }
  return rows;
}

class ShaderSampling : public ::testing::TestWithParam<uint32_t> {  // vocabulary
 protected:
  const uint32_t vocabulary_ = GetParam();
  const Floats logits_ = hard_rows(vocabulary_);
  const uint32_t rows_ = static_cast<uint32_t>(logits_.size()) / vocabulary_;
  const Buffer buffer_ = test::vulkan_buffer(logits_);
};

TEST_P(ShaderSampling, greedyTakesTheFirstOfTheLargest) {
  constexpr uint32_t kStride = 3;
  const Buffer tokens = test::vulkan_buffer(std::vector<uint32_t>(rows_ * kStride, 77));
  const Buffer values = test::vulkan_buffer(Floats(rows_));
  test::dispatch("greedy", {256, 0},
                 shaders::GreedyPush{.logits = buffer_.address(),
                                     .tokens = tokens.address(),
                                     .values = values.address(),
                                     .vocabulary = vocabulary_ - kPadding,
                                     .width = vocabulary_,
                                     .stride = kStride},
                 {.x = rows_});
  const auto result = test::vulkan_values<uint32_t>(tokens, rows_ * kStride);
  const Floats value = test::vulkan_values<float>(values, rows_);
  for (uint32_t row = 0; row < rows_; ++row) {
    const float* logits = &logits_[row * vocabulary_];
    const uint32_t best = sorted(logits, vocabulary_ - kPadding)[0];
    EXPECT_EQ(result[row * kStride], best) << row;
    EXPECT_EQ(std::bit_cast<uint32_t>(value[row]), std::bit_cast<uint32_t>(logits[best]));
    EXPECT_EQ(result[row * kStride + 1], 77u);
  }
}

TEST_P(ShaderSampling, topKEqualsSorting) {
  for (const uint32_t k : {1u, 40u, shaders::kMaxTopK}) {
    if (k > vocabulary_ - kPadding) continue;
    const Buffer tokens = test::vulkan_buffer(std::vector<uint32_t>(rows_ * k));
    const Buffer values = test::vulkan_buffer(Floats(rows_ * k));
    test::dispatch("top_k", {shaders::kTopKWidth, 0},
                   shaders::TopKPush{.logits = buffer_.address(),
                                     .tokens = tokens.address(),
                                     .values = values.address(),
                                     .vocabulary = vocabulary_ - kPadding,
                                     .width = vocabulary_,
                                     .k = k},
                   {.x = rows_});
    const auto token = test::vulkan_values<uint32_t>(tokens, rows_ * k);
    const Floats value = test::vulkan_values<float>(values, rows_ * k);
    for (uint32_t row = 0; row < rows_; ++row) {
      const float* logits = &logits_[row * vocabulary_];
      const std::vector<uint32_t> order = sorted(logits, vocabulary_ - kPadding);
      for (uint32_t i = 0; i < k; ++i) {
        ASSERT_EQ(token[row * k + i], order[i]) << "row " << row << ", rank " << i << " of " << k;
        ASSERT_EQ(std::bit_cast<uint32_t>(value[row * k + i]),
                  std::bit_cast<uint32_t>(logits[order[i]]));
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Vocabularies, ShaderSampling, ::testing::Values(50u, 300u, 10007u));

}  // namespace
}  // namespace quern::kernels::vulkan
