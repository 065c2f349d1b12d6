// Recurrent operations on the CPU: against the scalar reference, in chunks, and for several
// sequences.
#include <gtest/gtest.h>

#include "tests/kernels/recurrent_programs.h"

namespace quern::kernels {
namespace {

using test::convolution;
using test::delta;
using test::in_chunks;
using test::Recurrent;
using test::scan;
using test::SmallProgram;
using test::TestBatch;

constexpr uint32_t kRows = test::kRecurrentRows;

// A deque does not move them: their weights are views.
std::deque<Recurrent> all() {
  std::deque<Recurrent> made;
  made.push_back(convolution(40, 3, false, true, Activation::kNone));
  made.push_back(convolution(1100, 4, true, false, Activation::kSilu));
  made.push_back(delta(8, 2, 4));
  made.push_back(delta(40, 1, 3));
  made.push_back(delta(64, 2, 2));
  made.push_back(scan(4, 8, 2, 16));
  made.push_back(scan(3, 40, 1, 12));
  return made;
}

TEST(Recurrent, matchesTheReferenceForAnyThreadsAndChunk) {
  const auto one = make_cpu_backend(1), two = make_cpu_backend(2);
  const auto reference = make_reference_backend();
  for (const Recurrent& made : all()) {
    const std::vector<float> whole = in_chunks(*one, made, kRows);
    test::expect_close(whole, in_chunks(*reference, made, kRows), 2e-5);
    test::expect_close(whole, in_chunks(*reference, made, 7), 2e-5);
    for (const uint32_t chunk : {1, 2, 7, 48})
      test::expect_same(in_chunks(*two, made, chunk), whole);
  }
}

TEST(Recurrent, sequencesDoNotMixAndAStateThatWasReadStaysAsItWas) {
  for (const auto& backend : {make_cpu_backend(2), make_reference_backend()}) {
    for (const Recurrent& made : all()) {
      const auto cache = *backend->make_cache(made.small.program, CacheType::kF32, 0, 4);
      const std::vector<float> alone = in_chunks(*backend, made, kRows);
      TestBatch past = test::one_sequence(0, 5, {});
      past.states = {{kAbsent, 3}};
      run(*backend, made.small, made.result, *cache, past);

      TestBatch both = test::one_sequence(5, kRows, {});
      for (uint32_t p = 0; p < 9; ++p) both.rows.push_back({1, p, static_cast<int32_t>(p)});
      both.block_tables.push_back({});
      both.states = {{3, 0}, {kAbsent, 1}};
      const std::vector<float> mixed = run(*backend, made.small, made.result, *cache, both);
      const size_t width = made.small.program.values[made.result].width;
      const std::vector<float> expected(alone.begin() + static_cast<ptrdiff_t>(5 * width),
                                        alone.end());
      test::expect_same({mixed.begin(), mixed.end() - static_cast<ptrdiff_t>(9 * width)}, expected);
      both.states = {{3, 2}, {kAbsent, 1}};
      test::expect_same(run(*backend, made.small, made.result, *cache, both), mixed);
    }
  }
}

TEST(Recurrent, slotsTakeTheBytesThatTheProgramSays) {
  for (const auto& backend : {make_cpu_backend(1), make_reference_backend()}) {
    const Recurrent made = delta(8, 2, 4);
    const auto cache = *backend->make_cache(made.small.program, CacheType::kF32, 0, 5);
    EXPECT_EQ(cache->bytes(), 5 * made.small.program.state_bytes());
    EXPECT_EQ(made.small.program.state_bytes(), 4u * 8 * 8 * sizeof(float));
  }
}

// Heads that are normalized, gated, moved and multiplied.
TEST(Heads, matchTheReference) {
  SmallProgram small(7);
  const ValueId x = small.embed(96), gate = small.embed(96), out = small.program.add_value(6 * 32);
  small.program.ops.push_back(GatedNorm{
      .x = x,
      .heads = 3,
      .width = 32,
      .normalized = true,
      .norm = {{.weight = small.vector(96, 1, 0.2f), .epsilon = 1e-6f}, HeadNorm::Over::kOwnHead},
      .gate = gate,
      .activation = Activation::kSilu,
      .gate_first = true});
  small.program.ops.push_back(GatedNorm{.x = gate,
                                        .heads = 6,
                                        .width = 16,
                                        .normalized = true,
                                        .norm = {{.epsilon = 1e-6f}},
                                        .gate = x,
                                        .activation = Activation::kSigmoid,
                                        .scale = 0.5f});
  small.program.ops.push_back(
      Arrange{.pieces = {{.in = x, .first = 0, .stride = 16, .to = 16, .width = 16},
                         {.in = gate, .first = 4, .stride = 0, .to = 0, .width = 16}},
              .out = out,
              .heads = 6,
              .width = 32});
  for (const gguf::Format format : {gguf::Format::F32, gguf::Format::Q8_0}) {
    SmallProgram with = small;
    const ValueId result = with.program.add_value(6 * 40);
    with.program.ops.push_back(HeadProduct{out, result, with.matrix(format, 32, 40, 6)});
    const auto cpu = make_cpu_backend(2), reference = make_reference_backend();
    const bool exact = format == gguf::Format::F32;
    const std::vector<float> found = run(*cpu, with, result, 48);
    test::expect_close(found, run(*reference, with, result, 48), exact ? 1e-5 : 0.08);
    const std::vector<float> first = run(*cpu, with, result, 1);
    test::expect_same(first, {found.begin(), found.begin() + 240});
  }
}

}  // namespace
}  // namespace quern::kernels
