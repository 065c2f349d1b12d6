// Vector math against double references, over every instruction set that this machine has.
#include "kernels/cpu/vector_math.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "kernels/cpu/vector_math_kernels.h"

namespace quern::kernels::cpu {

// Compiled with the flags of their instruction set; here they may only be called.
#define QUERN_INSTANTIATED_ELSEWHERE(arch)                                        \
  extern template void ExpShifted::operator()<arch>(arch, float*, size_t, float); \
  extern template void SiluMultiply::operator()<arch>(arch, float*, const float*, size_t)
QUERN_INSTANTIATED_ELSEWHERE(xsimd::fma3<xsimd::avx2>);
QUERN_INSTANTIATED_ELSEWHERE(xsimd::sse2);
#undef QUERN_INSTANTIATED_ELSEWHERE

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kSmallest = std::numeric_limits<float>::min();  // normal number

template <typename Arch>
bool is_here(Arch) {
  return xsimd::available_architectures().best >= Arch::version();
}

// Calls action(exp_shifted, silu_multiply) for every instruction set here.
template <typename Action>
void for_each_arch(Action&& action) {
  const auto call = [&](auto arch) {
    using Arch = decltype(arch);
    if (!is_here(arch)) return;
    SCOPED_TRACE(Arch::name());
    action([](float* x, size_t n, float shift) { ExpShifted{}(Arch{}, x, n, shift); },
           [](float* gate, const float* up, size_t n) { SiluMultiply{}(Arch{}, gate, up, n); });
  };
  call(xsimd::sse2{});
  call(xsimd::fma3<xsimd::avx2>{});
}

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
  for_each_arch([](auto&& exp, auto&&) {
    for (const float shift : {0.0f, 3.7f, -11.0f}) {
      const std::vector<float> x = range(-87.3f + shift, 88.37f + shift, 20001);
      std::vector<float> y = x;
      exp(y.data(), y.size(), shift);
      double worst = 0;
      for (size_t i = 0; i < x.size(); ++i) {
        worst = std::max(worst, ulps(y[i], std::exp(static_cast<double>(x[i] - shift))));
      }
      EXPECT_LE(worst, 1.5);
    }
  });
}

TEST(ExpShifted, keepsWhatHasNoNeighbours) {
  for_each_arch([](auto&& exp, auto&&) {
    float x[] = {NAN, -kInfinity, kInfinity, 0, -0.0f, 89, -104, -1e30f};
    exp(x, std::size(x), 0);
    EXPECT_TRUE(std::isnan(x[0]));
    EXPECT_EQ(x[1], 0);
    EXPECT_EQ(x[2], kInfinity);
    EXPECT_EQ(x[3], 1);
    EXPECT_EQ(x[4], 1);
    EXPECT_EQ(x[5], kInfinity);
    EXPECT_EQ(x[6], 0);
    EXPECT_EQ(x[7], 0);
    float same[] = {-3.25f, -kInfinity, 1e38f};  // a softmax shifts by its maximum
    exp(same, 1, -3.25f);
    EXPECT_EQ(same[0], 1);
    exp(same + 1, 1, -kInfinity);  // of no numbers
    EXPECT_TRUE(std::isnan(same[1]));
    exp(same + 2, 1, 1e38f);
    EXPECT_EQ(same[2], 1);
  });
}

TEST(ExpShifted, rendersSubnormalResultsAsThemselvesOrZero) {
  for_each_arch([](auto&& exp, auto&&) {
    const std::vector<float> x = range(-103.9f, -87.4f, 2001);
    std::vector<float> y = x;
    exp(y.data(), y.size(), 0);
    for (size_t i = 0; i < x.size(); ++i) {
      ASSERT_GE(y[i], 0);
      ASSERT_LE(y[i], kSmallest) << x[i];
    }
  });
}

// The exponential is off by 1.5 ulp and weighs at most its share of 1 + exp(-x); the sum, the
// quotient and the product round by half an ulp each, which counts as up to one of the result.
TEST(SiluMultiply, isWithinFourUlp) {
  for_each_arch([](auto&&, auto&& silu) {
    const std::vector<float> x = range(-80, 88, 20001), up = range(-3, 2.9f, 20001);
    std::vector<float> y = x;
    silu(y.data(), up.data(), y.size());
    double worst = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const double exact = x[i] / (1 + std::exp(-double{x[i]})) * up[i];
      if (std::abs(exact) >= kSmallest) worst = std::max(worst, ulps(y[i], exact));
    }
    EXPECT_LE(worst, 4);
  });
}

TEST(SiluMultiply, vanishesForLargeNegativeGatesAndKeepsNotANumber) {
  for_each_arch([](auto&&, auto&& silu) {
    float gate[] = {-88, -89, -1e30f, 0, NAN, 1, 1e30f, kInfinity};
    const float up[] = {3, 3, 3, 3, 3, NAN, 2, 1};
    silu(gate, up, std::size(gate));
    for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(gate[i], 0, 1e-35) << i;
    EXPECT_TRUE(std::isnan(gate[4]));
    EXPECT_TRUE(std::isnan(gate[5]));
    EXPECT_EQ(gate[6], 2e30f);
    EXPECT_EQ(gate[7], kInfinity);
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
  for_each_arch([&](auto&& exp, auto&& silu) {
    std::vector<float> exps = x, gated = x;
    exp(exps.data(), exps.size(), 1.5f);
    silu(gated.data(), up.data(), up.size());
    for (size_t offset = 0; offset < 18; ++offset) {
      for (size_t length = 0; length <= 40; ++length) {
        std::vector<float> e = x, g = x;
        exp(e.data() + offset, length, 1.5f);
        silu(g.data() + offset, up.data() + offset, length);
        for (size_t i = 0; i < x.size(); ++i) {
          const bool inside = i >= offset && i < offset + length;
          ASSERT_EQ(e[i], inside ? exps[i] : x[i]) << offset << ", " << length << ", " << i;
          ASSERT_EQ(g[i], inside ? gated[i] : x[i]) << offset << ", " << length << ", " << i;
        }
      }
    }
  });
}

// There is one body with FMA, whatever wider registers a machine has.
TEST(VectorMath, givesTheSameBitsOnEveryMachineWithFma) {
  using Fma = xsimd::fma3<xsimd::avx2>;
  if (!is_here(Fma{})) GTEST_SKIP() << "needs AVX2 and FMA";
  std::vector<float> x = range(-110, 95, 20001);
  const std::vector<float> more = random_values(2000), up = random_values(x.size() + 2000);
  x.insert(x.end(), more.begin(), more.end());
  std::vector<float> found = x, expected = x;
  const auto expect_same = [&] {
    for (size_t i = 0; i < x.size(); ++i) {
      ASSERT_EQ(std::bit_cast<uint32_t>(found[i]), std::bit_cast<uint32_t>(expected[i])) << x[i];
    }
  };
  exp_shifted(found.data(), found.size(), 0.25f);
  ExpShifted{}(Fma{}, expected.data(), expected.size(), 0.25f);
  expect_same();
  found = expected = x;
  silu_multiply(found.data(), up.data(), found.size());
  SiluMultiply{}(Fma{}, expected.data(), up.data(), expected.size());
  expect_same();
}

}  // namespace
}  // namespace quern::kernels::cpu
