// Statistics against samples whose figures are known (computed with Python: statistics, numpy).
#include "bench/statistics.h"

#include <gtest/gtest.h>

#include <random>

namespace quern::bench {
namespace {

const std::vector<double> kSamples = {41.5, 44.0, 42.25, 43.0, 40.0, 42.75, 47.5};

TEST(Statistics, medianMeanAndDeviationOfKnownSamples) {
  EXPECT_DOUBLE_EQ(median(kSamples), 42.75);
  EXPECT_DOUBLE_EQ(mean(kSamples), 43.0);
  EXPECT_NEAR(standard_deviation(kSamples), 2.3496453633, 1e-9);
  EXPECT_DOUBLE_EQ(median(std::vector{1.0, 2.0, 3.0, 10.0}), 2.5);
}

TEST(Statistics, quantilesInterpolateBetweenOrderStatistics) {
  const std::vector<double> ten = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
  EXPECT_DOUBLE_EQ(quantile(ten, 0), 1);
  EXPECT_DOUBLE_EQ(quantile(ten, 0.95), 9.55);
  EXPECT_DOUBLE_EQ(quantile(ten, 0.99), 9.91);
  EXPECT_DOUBLE_EQ(quantile(ten, 1), 10);
}

TEST(Statistics, oneSampleHasNoSpread) {
  const std::vector<double> one = {5};
  EXPECT_EQ(standard_deviation(one), 0);
  EXPECT_EQ(median_interval(one).low, 5);
  EXPECT_EQ(median_interval(one).high, 5);
  EXPECT_EQ(drift(one), 1);
}

TEST(Statistics, intervalCoversTheTrueMedianAsOftenAsItSays) {
  std::mt19937_64 random(7);
  std::normal_distribution<double> normal(100, 5);
  int covered = 0;
  constexpr int kRuns = 200;
  for (int run = 0; run < kRuns; ++run) {
    std::vector<double> samples(25);
    for (double& value : samples) value = normal(random);
    const Interval interval = median_interval(samples);
    EXPECT_LE(interval.low, median(samples));
    EXPECT_GE(interval.high, median(samples));
    covered += interval.low <= 100 && 100 <= interval.high;
  }
  // 95 % of 200 is 190; the percentile bootstrap of a median is close to that.
  EXPECT_GE(covered, 178);
  EXPECT_LE(covered, 199);
}

TEST(Statistics, equalSamplesGiveEqualIntervals) {
  EXPECT_EQ(median_interval(kSamples).low, median_interval(kSamples).low);
  EXPECT_EQ(median_interval(kSamples).high, median_interval(kSamples).high);
}

TEST(Statistics, ratioOfEqualSamplesIsAroundOne) {
  const Interval ratio = ratio_interval(kSamples, kSamples);
  EXPECT_LT(ratio.low, 1);
  EXPECT_GT(ratio.high, 1);
  std::vector<double> doubled = kSamples;
  for (double& value : doubled) value *= 2;
  EXPECT_GT(ratio_interval(doubled, kSamples).low, 1.5);
}

TEST(Statistics, seesTwoGroups) {
  EXPECT_TRUE(is_bimodal(std::vector<double>{50, 51, 50.5, 40, 50.2, 40.3, 39.8, 50.7}));
  EXPECT_FALSE(is_bimodal(std::vector<double>{50, 51, 52, 53, 54, 55, 56, 57}));
  EXPECT_FALSE(is_bimodal(std::vector<double>{50, 51, 50.5, 50.1, 50.2, 50.3, 50.4, 30}))
      << "one outlier is not a group";
  EXPECT_FALSE(is_bimodal(std::vector<double>{50, 40})) << "too few";
}

TEST(Statistics, driftComparesTheEndWithTheBeginning) {
  EXPECT_DOUBLE_EQ(drift(std::vector<double>{100, 100, 95, 95, 90, 90}), 0.9);
}

}  // namespace
}  // namespace quern::bench
