// Mixtures of experts on the CPU against the scalar reference.
#include <gtest/gtest.h>

#include "kernels/cpu/routing.h"
#include "tests/kernels/small_program.h"
#include "tests/kernels/targets.h"

namespace quern::kernels {
namespace {

using gguf::Format;
using test::SmallProgram;

constexpr uint32_t kSeed = 20240618;
constexpr uint32_t kWidth = 64, kHidden = 96;

struct Mixture {
  SmallProgram small{kSeed};
  ValueId out = 0;

  // router: [experts][kWidth]; empty: random.
  Mixture(Format format, uint32_t experts, uint32_t used, const std::vector<float>& router = {},
          uint32_t experts_in_file = 0) {
    const uint32_t stack = std::max(experts, experts_in_file);
    const ValueId x = small.embed(kWidth);
    out = small.program.add_value(kWidth);
    Experts op{.in = x,
               .norm = {small.vector(kWidth, 1, 0.2f), 1e-5f},
               .router = 0,
               .gate = small.matrix(format, kWidth, kHidden, stack),
               .up = small.matrix(format, kWidth, kHidden, stack),
               .down = small.matrix(format, kHidden, kWidth, stack),
               .used = used,
               .out = out,
               .add = x};
    op.router = router.empty() ? small.matrix(Format::F32, kWidth, experts)
                               : small.floats({kWidth, experts, 1, 1}, router);
    small.program.ops.push_back(op);
  }

  Experts& op() { return std::get<Experts>(small.program.ops.back()); }

  std::vector<float> run(Backend& backend, uint32_t rows,
                         WeightHome home = WeightHome::kMapped) const {
    return test::run(backend, small, out, rows, home);
  }
};

TEST(Experts, equalTheReference) {
  const auto cpu = make_cpu_backend(2), reference = make_reference_backend();
  for (const auto& [experts, used] : {std::pair(1u, 1u), std::pair(8u, 2u), std::pair(13u, 13u)}) {
    const Mixture floats(Format::F32, experts, used);
    test::expect_close(floats.run(*cpu, 30), floats.run(*reference, 30), 3e-6);
    // Inputs rounded to int8 once before gate and up and once before down: 0.55 % of y each (see
    // linear_test), and six deviations for the largest of 1920 outputs.
    const Mixture quantized(Format::Q8_0, experts, used);
    test::expect_close(quantized.run(*cpu, 30), quantized.run(*reference, 30), 6 * 3 * 0.0055);
  }
}

TEST(Experts, equalTheReferenceForEveryRoutingAndWithBiases) {
  const auto cpu = make_cpu_backend(2), reference = make_reference_backend();
  for (const auto gate : {Routing::Gate::kSoftmax, Routing::Gate::kSigmoid}) {
    for (uint32_t mask = 0; mask < 32; ++mask) {
      SCOPED_TRACE(mask);
      Mixture mixture(Format::F32, 12, 3);
      SmallProgram& small = mixture.small;
      Experts& op = mixture.op();
      op.routing.gate = gate;
      op.routing.normalized = (mask & 1) != 0;
      if (mask & 2) op.routing.selection_bias = small.vector(12, 0, 0.5f);
      if (mask & 4) op.routing.groups = 4, op.routing.groups_used = 2;
      if (mask & 8) op.routing.bias = small.vector(12, 0, 1), op.routing.scale = 2.5f;
      if (mask & 16) {
        op.activation = Activation::kClampedSwiglu;
        op.gate_bias = small.vector(12 * kHidden, 2, 4);
        op.up_bias = small.vector(12 * kHidden, 0, 4);
        op.down_bias = small.vector(12 * kWidth, 0, 1);
        op.add = kAbsent;
      }
      test::expect_close(mixture.run(*cpu, 9), mixture.run(*reference, 9), 5e-6);
    }
  }
}

TEST(Experts, chooseByHand) {
  // p = (0.5, 0.3, 0.15, 0.05); the bias lifts the last two, whose shares stay those of p.
  Routing routing{.normalized = false, .scale = 2};
  const std::vector<float> p = {0.5f, 0.3f, 0.15f, 0.05f}, bias = {0, 0, 1, 1.05f};
  const auto choose = [&](const float* selection_bias) {
    std::vector<float> z(4), shares(2);
    for (size_t i = 0; i < 4; ++i) z[i] = std::log(p[i]);
    std::vector<uint32_t> chosen(2);
    cpu::choose_experts(z, routing, selection_bias, chosen, shares.data());
    return std::pair(chosen, shares);
  };
  const auto [plain, plain_shares] = choose(nullptr);
  EXPECT_EQ(plain, (std::vector<uint32_t>{0, 1}));
  EXPECT_NEAR(plain_shares[0], 1.0, 1e-6);
  EXPECT_NEAR(plain_shares[1], 0.6, 1e-6);
  const auto [biased, biased_shares] = choose(bias.data());
  EXPECT_EQ(biased, (std::vector<uint32_t>{2, 3}));
  EXPECT_NEAR(biased_shares[0], 0.3, 1e-6);
  EXPECT_NEAR(biased_shares[1], 0.1, 1e-6);
  // Two groups: without a bias the first one is best, and holds both experts.
  routing = {.groups = 2, .groups_used = 1, .normalized = true, .scale = 1};
  EXPECT_NEAR(choose(nullptr).second[0], 0.625, 1e-6);
  const float last[] = {0, 0, 0.31f, 0.31f};  // sums: 0.8 and 0.82
  EXPECT_EQ(choose(last).first, (std::vector<uint32_t>{2, 3}));
}

TEST(Experts, takesTheLowerIndexOfEqualLogits) {
  // With a router of zeros all experts are equal, and the first two of eight are all that matter.
  const std::vector<float> zeros(kWidth * 8, 0.0f);
  const Mixture all(Format::F32, 8, 2, zeros);
  const Mixture first_two(Format::F32, 2, 2, {zeros.begin(), zeros.begin() + 2 * kWidth}, 8);
  for (const auto& backend : {make_cpu_backend(2), make_reference_backend()}) {
    SCOPED_TRACE(backend->name());
    test::expect_same(all.run(*backend, 5), first_two.run(*backend, 5));
  }
}

TEST(Experts, ranksNotANumberLast) {
  std::vector<float> router = SmallProgram(kSeed).normal(kWidth * 4);
  std::fill_n(router.begin() + kWidth, kWidth, NAN);  // expert 1
  const auto cpu = make_cpu_backend(2), reference = make_reference_backend();
  const Mixture three(Format::F32, 4, 3, router);
  test::expect_close(three.run(*cpu, 5), three.run(*reference, 5), 3e-6);
  // Chosen all the same, it is not hidden.
  const Mixture four(Format::F32, 4, 4, router);
  for (const float y : four.run(*cpu, 5)) EXPECT_TRUE(std::isnan(y));
}

TEST(Experts, survivesARouterWithoutAnyNumber) {
  const Mixture mixture(Format::F32, 8, 2, std::vector<float>(kWidth * 8, NAN));
  for (const auto& backend : {make_cpu_backend(2), make_reference_backend()}) {
    SCOPED_TRACE(backend->name());
    for (const float y : mixture.run(*backend, 5)) EXPECT_TRUE(std::isnan(y));
  }
}

TEST(Experts, giveTheSameBitsFromPackedWeights) {
  const auto cpu = make_cpu_backend(2);
  for (const Format format : {Format::F16, Format::Q8_0}) {
    const Mixture mixture(format, 8, 3);
    test::expect_same(mixture.run(*cpu, 20, WeightHome::kPacked), mixture.run(*cpu, 20));
  }
}

TEST(Experts, giveTheSameBitsForAnyThreadsAndForRowsOneByOne) {
  for (const Format format : {Format::F16, Format::Q8_0}) {
    const Mixture mixture(format, 8, 3);
    const auto first = make_cpu_backend(1);
    const std::vector<float> expected = mixture.run(*first, 20);
    test::for_each_instruction_set([&](bool exact) {
      if (!exact) return;
      for (const size_t threads : {1, 2, 3}) {
        const auto cpu = make_cpu_backend(threads);
        test::expect_same(mixture.run(*cpu, 20), expected);
        const auto cache = test::make_cache(*cpu, mixture.small, 0);
        std::vector<float> single;
        const test::TestBatch all = test::one_sequence(0, 20, {});
        for (size_t row = 0; row < 20; ++row) {
          const auto y =
              test::run(*cpu, mixture.small, mixture.out, *cache, all.part(row, row + 1));
          single.insert(single.end(), y.begin(), y.end());
        }
        test::expect_same(single, expected);
      }
    });
  }
}

}  // namespace
}  // namespace quern::kernels
