// Vector math against double references, over every instruction set that this machine has.
#include "kernels/cpu/vector_math.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numbers>
#include <random>
#include <vector>

#include "tests/kernels/small_program.h"
#include "tests/kernels/targets.h"

namespace quern::kernels::cpu {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kSmallest = std::numeric_limits<float>::min();  // normal number

std::vector<float> range(float low, float high, size_t count) {
  std::vector<float> x(count);
  for (size_t i = 0; i < count; ++i) {
    x[i] = low + (high - low) * static_cast<float>(i) / static_cast<float>(count - 1);
  }
  return x;
}

// Distance in steps of f32 at the exact value.
double ulps(float found, double exact) {
  const auto near = static_cast<float>(std::abs(exact));
  return std::abs(found - exact) / (std::nextafter(near, kInfinity) - double{near});
}

TEST(ExpShifted, isWithinOneAndAHalfUlp) {
  test::for_each_instruction_set([](bool) {
    for (const float shift : {0.0f, 3.7f, -11.0f}) {
      const std::vector<float> x = range(-87.3f + shift, 88.37f + shift, 20001);
      std::vector<float> y = x;
      exp_shifted(y.data(), y.size(), shift);
      double worst = 0;
      for (size_t i = 0; i < x.size(); ++i) {
        worst = std::max(worst, ulps(y[i], std::exp(static_cast<double>(x[i] - shift))));
      }
      EXPECT_LE(worst, 1.5);
    }
  });
}

TEST(ExpShifted, keepsWhatHasNoNeighbours) {
  test::for_each_instruction_set([](bool) {
    float x[] = {NAN, -kInfinity, kInfinity, 0, -0.0f, 89, -104, -1e30f};
    exp_shifted(x, std::size(x), 0);
    EXPECT_TRUE(std::isnan(x[0]));
    EXPECT_EQ(x[1], 0);
    EXPECT_EQ(x[2], kInfinity);
    EXPECT_EQ(x[3], 1);
    EXPECT_EQ(x[4], 1);
    EXPECT_EQ(x[5], kInfinity);
    EXPECT_EQ(x[6], 0);
    EXPECT_EQ(x[7], 0);
    float same[] = {-3.25f, -kInfinity, 1e38f};  // a softmax shifts by its maximum
    exp_shifted(same, 1, -3.25f);
    EXPECT_EQ(same[0], 1);
    exp_shifted(same + 1, 1, -kInfinity);  // of no numbers
    EXPECT_TRUE(std::isnan(same[1]));
    exp_shifted(same + 2, 1, 1e38f);
    EXPECT_EQ(same[2], 1);
  });
}

TEST(ExpShifted, rendersSubnormalResultsAsThemselvesOrZero) {
  test::for_each_instruction_set([](bool) {
    const std::vector<float> x = range(-103.9f, -87.4f, 2001);
    std::vector<float> y = x;
    exp_shifted(y.data(), y.size(), 0);
    for (size_t i = 0; i < x.size(); ++i) {
      ASSERT_GE(y[i], 0);
      ASSERT_LE(y[i], kSmallest) << x[i];
    }
  });
}

// The exponential is off by 1.5 ulp and weighs at most its share of 1 + exp(-x); the sum, the
// quotient and the product round by half an ulp each, which counts as up to one of the result.
TEST(SiluMultiply, isWithinFourUlp) {
  test::for_each_instruction_set([](bool) {
    const std::vector<float> x = range(-80, 88, 20001), up = range(-3, 2.9f, 20001);
    std::vector<float> y = x;
    activate(Activation::kSilu, y.data(), up.data(), y.size());
    double worst = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const double exact = x[i] / (1 + std::exp(-double{x[i]})) * up[i];
      if (std::abs(exact) >= kSmallest) worst = std::max(worst, ulps(y[i], exact));
    }
    EXPECT_LE(worst, 4);
  });
}

TEST(SiluMultiply, vanishesForLargeNegativeGatesAndKeepsNotANumber) {
  test::for_each_instruction_set([](bool) {
    float gate[] = {-88, -89, -1e30f, 0, NAN, 1, 1e30f, kInfinity};
    const float up[] = {3, 3, 3, 3, 3, NAN, 2, 1};
    activate(Activation::kSilu, gate, up, std::size(gate));
    for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(gate[i], 0, 1e-35) << i;
    EXPECT_TRUE(std::isnan(gate[4]));
    EXPECT_TRUE(std::isnan(gate[5]));
    EXPECT_EQ(gate[6], 2e30f);
    EXPECT_EQ(gate[7], kInfinity);
  });
}

double exact_activation(Activation activation, double x) {
  const double g = std::min(x, 7.0);
  switch (activation) {
    case Activation::kGelu:
      return x / 2 * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
    case Activation::kReluSquared:
      return x > 0 ? x * x : 0;
    case Activation::kSigmoid:
      return 1 / (1 + std::exp(-x));
    case Activation::kClampedSwiglu:
      return g / (1 + std::exp(-1.702 * g));
    default:
      return x;
  }
}

// An exponent of up to 20 is off by a step of 2^-24 in each of some four roundings, which the
// exponential makes relative; where gelu is tiny that is still far below a step of 1.
TEST(Activate, isCloseToTheExactFunctionWithAndWithoutUp) {
  test::for_each_instruction_set([](bool) {
    for (const auto activation : {Activation::kGelu, Activation::kReluSquared, Activation::kSigmoid,
                                  Activation::kClampedSwiglu}) {
      const std::vector<float> x = range(-30, 30, 20001), up = range(-11, 11, 20001);
      std::vector<float> y = x, gated = x;
      activate(activation, y.data(), nullptr, y.size());
      activate(activation, gated.data(), up.data(), y.size());
      const bool clamped = activation == Activation::kClampedSwiglu;
      for (size_t i = 0; i < x.size(); ++i) {
        const double exact = exact_activation(activation, x[i]);
        const double u = clamped ? std::clamp(double{up[i]}, -7.0, 7.0) + 1 : up[i];
        if (!clamped) {
          ASSERT_NEAR(y[i], exact, 1e-6 * std::abs(exact) + 1e-7) << x[i];
        }
        ASSERT_NEAR(gated[i], exact * u, 1e-6 * std::abs(exact * u) + 1e-6) << x[i];
      }
      float nan[] = {NAN, 1}, one[] = {1, NAN};
      activate(activation, nan, one, 2);
      EXPECT_TRUE(std::isnan(nan[0]));
      EXPECT_TRUE(std::isnan(nan[1]));
    }
  });
}

TEST(SoftCap, isWithinFourUlpOfTheHyperbolicTangent) {
  test::for_each_instruction_set([](bool) {
    const std::vector<float> x = range(-12, 12, 40001);
    std::vector<float> y = x;
    soft_cap(y.data(), y.size(), 1, 1);
    double worst = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      if (x[i] != 0)
        worst = std::max(worst, ulps(std::abs(y[i]), std::abs(std::tanh(double{x[i]}))));
    }
    EXPECT_LE(worst, 4);
    float edges[] = {1e30f, -1e30f, kInfinity, NAN, 0, 1e-20f};
    soft_cap(edges, std::size(edges), 2, 30);
    EXPECT_EQ(edges[0], 30);
    EXPECT_EQ(edges[1], -30);
    EXPECT_EQ(edges[2], 30);
    EXPECT_TRUE(std::isnan(edges[3]));
    EXPECT_EQ(edges[4], 0);
    EXPECT_NEAR(edges[5], 2e-20f, 1e-26f);
  });
}

std::vector<float> random_values(size_t count) {
  std::mt19937 random(20240621);
  std::normal_distribution<float> normal(0, 20);
  std::vector<float> x(count);
  for (float& value : x) value = normal(random);
  return x;
}

TEST(VectorMath, doesNotDependOnLengthOrOffset) {
  const std::vector<float> x = random_values(100), up = random_values(100);
  test::for_each_instruction_set([&](bool) {
    std::vector<float> exps = x, gated = x;
    exp_shifted(exps.data(), exps.size(), 1.5f);
    activate(Activation::kSilu, gated.data(), up.data(), up.size());
    for (size_t offset = 0; offset < 18; ++offset) {
      for (size_t length = 0; length <= 40; ++length) {
        std::vector<float> e = x, g = x;
        exp_shifted(e.data() + offset, length, 1.5f);
        activate(Activation::kSilu, g.data() + offset, up.data() + offset, length);
        for (size_t i = 0; i < x.size(); ++i) {
          const bool inside = i >= offset && i < offset + length;
          ASSERT_EQ(e[i], inside ? exps[i] : x[i]) << offset << ", " << length << ", " << i;
          ASSERT_EQ(g[i], inside ? gated[i] : x[i]) << offset << ", " << length << ", " << i;
        }
      }
    }
  });
}

TEST(VectorMath, givesTheSameBitsOnEveryInstructionSetWithFma) {
  std::vector<float> x = range(-110, 95, 20001);
  const std::vector<float> more = random_values(2000), up = random_values(x.size() + 2000);
  x.insert(x.end(), more.begin(), more.end());
  std::vector<float> exps, gated;  // of the first set
  test::for_each_instruction_set([&](bool exact) {
    if (!exact) return;
    std::vector<float> e = x, g = x;
    exp_shifted(e.data(), e.size(), 0.25f);
    activate(Activation::kSilu, g.data(), up.data(), g.size());
    if (exps.empty()) exps = e, gated = g;
    test::expect_same(e, exps);
    test::expect_same(g, gated);
  });
}

TEST(RotatePairs, turnsByHandAndByTheSameBitsForAnyLength) {
  const std::vector<float> angles = range(-3, 3, 41), x = random_values(90);
  std::vector<float> cosines(41), sines(41);
  for (size_t i = 0; i < angles.size(); ++i) {
    cosines[i] = std::cos(angles[i]);
    sines[i] = std::sin(angles[i]);
  }
  test::for_each_instruction_set([&](bool) {
    for (const bool interleaved : {false, true}) {
      for (const size_t pairs : {0, 1, 3, 8, 16, 24, 41}) {
        std::vector<float> turned = x, expected = x;
        rotate_pairs(turned.data(), cosines.data(), sines.data(), pairs, interleaved);
        for (size_t i = 0; i < pairs; ++i) {
          const size_t a = interleaved ? 2 * i : i, b = interleaved ? 2 * i + 1 : i + pairs;
          // Two products and their sum, each rounded.
          const float up = x[a] * sines[i], down = x[b] * sines[i];
          const float left = x[a] * cosines[i], right = x[b] * cosines[i];
          expected[a] = left - down;
          expected[b] = up + right;
        }
        test::expect_same(turned, expected);
      }
    }
  });
}

}  // namespace
}  // namespace quern::kernels::cpu
