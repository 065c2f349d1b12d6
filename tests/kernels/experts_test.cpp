// Mixtures of experts on the CPU against the scalar reference.
#include <gtest/gtest.h>

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

  std::vector<float> run(Backend& backend, uint32_t rows) const {
    return test::run(backend, small, out, rows);
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
