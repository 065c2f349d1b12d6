// Small programs on the Vulkan backend against the scalar reference.
#include <gtest/gtest.h>

#include "tests/kernels/small_program.h"
#include "tests/kernels/vulkan/test_device.h"

namespace quern::kernels {
namespace {

using gguf::Format;
using test::SmallProgram;

constexpr uint32_t kSeed = 20251121;

void expect_equals_reference(const SmallProgram& small, ValueId out, uint32_t rows,
                             double tolerance = 1e-5) {
  const auto reference = make_reference_backend();
  test::expect_close(test::run(test::vulkan_backend(), small, out, rows),
                     test::run(*reference, small, out, rows), tolerance);
}

struct Features {
  bool norm = false, bias = false, gate = false, residual = false;
  Format other = Format::Q4_K;  // of the second matrix of a gated unit
};

// A projection of Q4_K, 512 to 72 values.
ValueId project(SmallProgram& small, const Features& with) {
  constexpr uint32_t kIn = 512, kOut = 72;
  Projection op{.in = small.embed(kIn), .norm = {}, .outputs = {}};
  if (with.norm) op.norm = {small.vector(kIn, 1, 0.2f), 1e-5f};
  if (with.gate) op.activation = Activation::kSilu;
  const ValueId add = with.residual ? small.embed(kOut) : kAbsent;
  const ValueId out = small.program.add_value(kOut);
  for (int i = 0; i <= int{with.gate}; ++i) {
    op.outputs.push_back({.weight = small.matrix(i ? with.other : Format::Q4_K, kIn, kOut),
                          .bias = with.bias ? small.vector(kOut, 0, 1) : kAbsent,
                          .out = out,
                          .add = i == 0 ? add : kAbsent});
  }
  small.program.ops.push_back(op);
  return out;
}

TEST(VulkanBackend, projectsWithEveryPrologueAndEpilogue) {
  for (uint32_t mask = 0; mask < 32; ++mask) {
    SmallProgram small(kSeed + mask);
    SCOPED_TRACE(testing::Message() << "seed " << kSeed + mask);
    const ValueId out = project(small, {.norm = (mask & 1) != 0,
                                        .bias = (mask & 2) != 0,
                                        .gate = (mask & 4) != 0,
                                        .residual = (mask & 8) != 0,
                                        .other = mask & 16 ? Format::Q6_K : Format::Q4_K});
    expect_equals_reference(small, out, 1 + mask % 8);
  }
}

TEST(VulkanBackend, projectsManyRows) {
  SmallProgram small(kSeed);
  const ValueId out = project(small, {.norm = true, .gate = true, .other = Format::Q6_K});
  for (const uint32_t rows : {9, 16, 47, 80}) expect_equals_reference(small, out, rows);
}

// Rows are computed in classes; rows of a class that are not wanted must not matter.
TEST(VulkanBackend, returnsOnlyTheRowsThatAreWanted) {
  SmallProgram small(kSeed);
  const ValueId out = project(small, {.norm = true, .residual = true});
  const auto reference = make_reference_backend();
  auto batch = test::one_sequence(0, 7, {});
  batch.logit_rows = {1, 4, 6};
  const auto run = [&](Backend& backend) {
    const auto cache = test::make_cache(backend, small, 0);
    return test::run(backend, small, out, *cache, batch);
  };
  const std::vector<float> found = run(test::vulkan_backend());
  EXPECT_EQ(found.size(), 3u * 72);
  test::expect_close(found, run(*reference), 1e-5);
}

}  // namespace
}  // namespace quern::kernels
