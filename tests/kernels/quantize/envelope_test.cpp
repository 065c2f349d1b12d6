// Envelopes against the maximum of all lines, taken one by one.
#include "kernels/quantize/envelope.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace quern::kernels::quantize {
namespace {

constexpr uint32_t kSeed = 11;
constexpr float kScales[] = {0.01f, 0.3f, 0.5f, 1, 1.7f, 4, 50};

std::vector<Line> random_lines(size_t count, std::mt19937& random) {
  std::uniform_real_distribution<float> distribution(0, 4);
  std::vector<Line> lines(count);
  for (Line& line : lines) line = {distribution(random), distribution(random)};
  return lines;
}

float largest(const std::vector<Line>& lines, float t) {
  float value = -INFINITY;
  for (const Line& line : lines) value = std::max(value, line.value(t));
  return value;
}

TEST(Envelope, isTheLargestLineAtEveryScale) {
  std::mt19937 random(kSeed);
  for (const size_t count : {1, 2, 7, 60}) {
    const auto lines = random_lines(count, random);
    const Envelope envelope(lines);
    for (const float t : kScales) EXPECT_EQ(envelope.at(t).value(t), largest(lines, t)) << t;
  }
}

TEST(Envelope, ofLinesThatAreEqualOrParallelIsTheBest) {
  const Envelope envelope({{1, 2}, {1, 2}, {3, 2}, {2, 2}});
  EXPECT_EQ(envelope.at(1).p, 3);
}

TEST(Envelope, ofASumIsTheSumOfTheLargest) {
  std::mt19937 random(kSeed);
  const auto a = random_lines(9, random), b = random_lines(14, random);
  const Envelope both = sum(Envelope(a), Envelope(b));
  for (const float t : kScales) {
    EXPECT_NEAR(both.at(t).value(t), largest(a, t) + largest(b, t), 1e-4f * (1 + t)) << t;
  }
}

TEST(Envelope, ofAMaximumIsTheLargestOfBoth) {
  std::mt19937 random(kSeed);
  const auto a = random_lines(9, random), b = random_lines(14, random);
  const Envelope either = maximum(Envelope(a), Envelope(b));
  for (const float t : kScales) {
    EXPECT_EQ(either.at(t).value(t), std::max(largest(a, t), largest(b, t))) << t;
  }
}

TEST(Envelope, findsTheScaleWithTheLargestGain) {
  std::mt19937 random(kSeed);
  const auto lines = random_lines(30, random);
  const Envelope envelope(lines);
  const float best = envelope.best_scale();
  for (float t = 0.01f; t < 20; t *= 1.01f) {
    EXPECT_GE(envelope.at(best).gain(best) * 1.00001f, t * largest(lines, t)) << t;
  }
}

TEST(Envelope, hasNoScaleWhenNothingIsGained) {
  EXPECT_EQ(Envelope({{-1, 2}, {0, 1}}).best_scale(), 0);
}

}  // namespace
}  // namespace quern::kernels::quantize
