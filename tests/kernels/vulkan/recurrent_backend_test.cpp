// Operations on states and on single heads on the Vulkan backend against the scalar reference.
#include <gtest/gtest.h>

#include "tests/kernels/recurrent_programs.h"
#include "tests/kernels/vulkan/test_device.h"

namespace quern::kernels {
namespace {

using gguf::Format;
using test::Recurrent;
using test::SmallProgram;
using test::TestBatch;

std::deque<Recurrent> all() {
  std::deque<Recurrent> made;
  made.push_back(test::convolution(40, 3, false, true, Activation::kNone));
  made.push_back(test::convolution(1104, 4, true, false, Activation::kSilu));
  made.push_back(test::delta(8, 2, 8));
  made.push_back(test::delta(40, 4, 8));
  made.push_back(test::delta(128, 2, 8));
  made.push_back(test::scan(8, 8, 2, 16));
  made.push_back(test::scan(8, 72, 1, 12));
  return made;
}

TEST(VulkanRecurrent, matchesTheReferenceInAnyChunks) {
  const auto reference = make_reference_backend();
  for (const Recurrent& made : all()) {
    const std::vector<float> expected = in_chunks(*reference, made, test::kRecurrentRows);
    for (const uint32_t chunk : {1, 7, 48}) {
      test::expect_close(in_chunks(test::vulkan_backend(), made, chunk), expected, 5e-5);
    }
  }
}

TEST(VulkanRecurrent, sequencesDoNotMixAndAStateThatWasReadStaysAsItWas) {
  Backend& backend = test::vulkan_backend();
  for (const Recurrent& made : all()) {
    const auto cache = *backend.make_cache(made.small.program, CacheType::kF32, 0, 4);
    const std::vector<float> alone = in_chunks(backend, made, test::kRecurrentRows);
    TestBatch past = test::one_sequence(0, 5, {});
    past.states = {{kAbsent, 3}};
    run(backend, made.small, made.result, *cache, past);

    TestBatch both = test::one_sequence(5, test::kRecurrentRows, {});
    for (uint32_t p = 0; p < 9; ++p) both.rows.push_back({1, p, static_cast<int32_t>(p)});
    both.block_tables.push_back({});
    both.states = {{3, 0}, {kAbsent, 1}};
    const std::vector<float> mixed = run(backend, made.small, made.result, *cache, both);
    const size_t width = made.small.program.values[made.result].width;
    const std::vector<float> expected(alone.begin() + static_cast<ptrdiff_t>(5 * width),
                                      alone.end());
    test::expect_same({mixed.begin(), mixed.end() - static_cast<ptrdiff_t>(9 * width)}, expected);
    both.states = {{3, 2}, {kAbsent, 1}};
    test::expect_same(run(backend, made.small, made.result, *cache, both), mixed);
  }
}

void expect_equals_reference(const SmallProgram& small, ValueId out, uint32_t rows) {
  const auto reference = make_reference_backend();
  test::expect_close(test::run(test::vulkan_backend(), small, out, rows),
                     test::run(*reference, small, out, rows), 1e-5);
}

TEST(VulkanHeads, areNormalizedAndGatedLikeTheReference) {
  constexpr uint32_t kHeads = 4, kWidth = 72;
  using Over = HeadNorm::Over;
  for (int kind = 0; kind < 12; ++kind) {
    SCOPED_TRACE(kind);
    SmallProgram small(static_cast<uint32_t>(kind));
    GatedNorm op{.x = small.embed(kHeads * kWidth), .heads = kHeads, .width = kWidth};
    op.normalized = kind % 3 != 0;
    op.norm.norm.epsilon = 0.1f;
    op.norm.over = kind % 2 ? Over::kOwnHead : Over::kEachHead;
    if (kind % 3 == 1)
      op.norm.norm.weight = small.vector(kind % 2 ? kHeads * kWidth : kWidth, 1, 1);
    if (kind >= 2) op.gate = small.embed(kHeads * kWidth);
    if (kind >= 2) op.activation = kind % 2 ? Activation::kSilu : Activation::kSigmoid;
    op.gate_first = kind >= 6;
    op.scale = 0.3f;
    small.program.ops.push_back(op);
    for (const uint32_t rows : {1, 9}) expect_equals_reference(small, op.x, rows);
  }
}

TEST(VulkanHeads, haveLayerNormsWithBiasesBeforeAndAfterGates) {
  constexpr uint32_t kHeads = 4, kWidth = 20;
  using Over = HeadNorm::Over;
  for (const Over over : {Over::kEachHead, Over::kOwnHead, Over::kAllHeads}) {
    for (const bool gate_first : {false, true}) {
      SmallProgram small(3);
      const uint64_t width = over == Over::kEachHead ? kWidth : kHeads * kWidth;
      GatedNorm op{.x = small.embed(kHeads * kWidth), .heads = kHeads, .width = kWidth};
      op.norm = {{.weight = small.vector(width, 1, 0.2f),
                  .epsilon = 0.1f,
                  .bias = small.vector(width, 0, 1),
                  .kind = Norm::Kind::kLayer},
                 over};
      op.gate = small.embed(kHeads * kWidth);
      op.activation = Activation::kSilu;
      op.gate_first = gate_first;
      op.scale = 0.3f;
      small.program.ops.push_back(op);
      expect_equals_reference(small, op.x, 9);
    }
  }
}

TEST(VulkanHeads, areArrangedAndMultipliedLikeTheReference) {
  constexpr uint32_t kHeads = 6, kIn = 32, kOut = 24, kMore = 8;
  for (const Format format : {Format::F32, Format::Q8_0}) {
    SmallProgram small(5);
    const ValueId in = small.embed(kHeads * (kIn + kMore));
    const ValueId plain = small.program.add_value(kHeads * kIn);
    const ValueId product = small.program.add_value(kHeads * kOut);
    const ValueId joined = small.program.add_value(kHeads * (kOut + kMore));
    small.program.ops.push_back(Arrange{{{in, kMore, kIn + kMore, 0, kIn}}, plain, kHeads, kIn});
    small.program.ops.push_back(
        HeadProduct{plain, product, small.matrix(format, kIn, kOut, kHeads)});
    small.program.ops.push_back(
        Arrange{{{in, 0, kIn + kMore, 0, kMore}, {product, 0, kOut, kMore, kOut}},
                joined,
                kHeads,
                kMore + kOut});
    for (const uint32_t rows : {1, 9, 48}) expect_equals_reference(small, joined, rows);
  }
}

}  // namespace
}  // namespace quern::kernels
