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

// Embeds, multiplies by a gated unit, and adds what it gives to the residual stream.
ValueId odd_layer(SmallProgram& small, Format format, uint32_t width, uint32_t hidden) {
  const ValueId x = small.program.add_value(width), y = small.program.add_value(hidden);
  small.program.ops.push_back(Embed{small.matrix(format, width, SmallProgram::kTokens), x});
  small.program.ops.push_back(
      Projection{.in = x,
                 .norm = {small.vector(width, 1, 0.2f), 1e-5f},
                 .outputs = {{.weight = small.matrix(format, width, hidden),
                              .bias = small.vector(hidden, 0, 1),
                              .out = y},
                             {.weight = small.matrix(format, width, hidden)}},
                 .activation = Activation::kSilu});
  small.program.ops.push_back(
      Projection{.in = y,
                 .norm = {},
                 .outputs = {{.weight = small.matrix(format, hidden, width), .out = x, .add = x}}});
  return x;
}

TEST(VulkanBackend, computesWidthsThatEightDoesNotDivide) {
  for (const Format format : {Format::F32, Format::F16, Format::BF16}) {
    for (const auto& [width, hidden] : {std::pair{27u, 150u}, {20u, 33u}}) {
      SCOPED_TRACE(testing::Message() << int(format) << ", " << width);
      SmallProgram small(kSeed);
      const ValueId out = odd_layer(small, format, width, hidden);
      for (const uint32_t rows : {1, 9, 70}) expect_equals_reference(small, out, rows);
    }
  }
}

// A value of width 1, from one of width 8.
ValueId row_factors(SmallProgram& small, ValueId in) {
  const ValueId out = small.program.add_value(1);
  small.program.ops.push_back(Projection{
      .in = in, .norm = {}, .outputs = {{.weight = small.matrix(Format::F32, 8, 1), .out = out}}});
  return out;
}

TEST(VulkanBackend, activatesScalesAndGatesWhatItProjects) {
  for (const Activation activation : {Activation::kNone, Activation::kSilu, Activation::kGelu,
                                      Activation::kReluSquared, Activation::kSigmoid}) {
    SmallProgram small(kSeed + static_cast<uint32_t>(activation));
    const ValueId in = small.embed(512), gate = small.embed(8), out = small.program.add_value(72);
    Linear linear{.weight = small.matrix(Format::Q5_K, 512, 72), .out = out};
    // With an activation, scale and gate are neutral.
    if (activation == Activation::kNone)
      linear.scale = 0.3f, linear.gate = row_factors(small, gate);
    small.program.ops.push_back(
        Projection{.in = in, .norm = {}, .outputs = {linear}, .activation = activation});
    for (const uint32_t rows : {3, 11}) expect_equals_reference(small, out, rows);
  }
}

TEST(VulkanBackend, normalizesLayersBeforeAndAfterProducts) {
  SmallProgram small(kSeed);
  const ValueId in = small.embed(512), out = small.program.add_value(72);
  const ValueId sum = small.program.add_value(72);
  const Norm layer = {.weight = small.vector(512, 1, 0.2f),
                      .epsilon = 1e-5f,
                      .bias = small.vector(512, 0, 1),
                      .kind = Norm::Kind::kLayer};
  const Norm rms = {.weight = small.vector(72, 1, 0.2f), .epsilon = 1e-5f};
  small.program.ops.push_back(
      Projection{.in = in,
                 .norm = layer,
                 .outputs = {{.weight = small.matrix(Format::Q8_0, 512, 72), .out = out}}});
  const ValueId residual = small.embed(72);
  small.program.ops.push_back(
      AddNormed{.in = out, .norm = rms, .out = sum, .add = residual, .scale = 0.7f});
  small.program.ops.push_back(
      AddNormed{.in = sum, .norm = {}, .out = out, .add = residual, .scale = 0.3f});
  small.program.ops.push_back(
      AddNormed{.in = out, .norm = {}, .out = sum, .add = sum, .scale = 0.5f});
  small.program.ops.push_back(SoftCap{sum, 2});
  for (const uint32_t rows : {1, 9}) expect_equals_reference(small, sum, rows);
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

struct MixtureFeatures {
  Format up = Format::Q4_K;  // gate is Q4_K
  bool fused = false;        // gate and up are one tensor
  bool odd = false;          // floats, of widths that 8 does not divide
  bool biases = false;
  Routing routing = {};
  Activation activation = Activation::kSilu;
  Norm::Kind norm = Norm::Kind::kRms;
};

ValueId mixture_layer(SmallProgram& small, const MixtureFeatures& with) {
  constexpr uint32_t kExperts = 8;
  const uint32_t in_width = with.odd ? 28 : 256, hidden = with.odd ? 13 : 256;
  const Format gate = with.odd ? Format::F16 : Format::Q4_K;
  const Format down = with.odd ? Format::BF16 : Format::Q6_K;
  const ValueId in = small.embed(in_width), add = small.embed(in_width),
                out = small.program.add_value(in_width);
  const auto bias = [&](uint64_t width) {
    return with.biases ? small.vector(width * kExperts, 0, 1) : kAbsent;
  };
  Experts op{
      .in = in,
      .norm = {.weight = small.vector(in_width, 1, 0.2f), .epsilon = 1e-5f, .kind = with.norm},
      .router = small.matrix(Format::F32, in_width, kExperts),
      .gate = small.matrix(gate, in_width, hidden, kExperts),
      .up = small.matrix(with.up, in_width, hidden, kExperts),
      .down = small.matrix(down, hidden, in_width, kExperts),
      .used = 3,
      .out = out,
      .add = add,
      .routing = with.routing,
      .activation = with.activation,
      .gate_bias = bias(hidden),
      .up_bias = bias(hidden),
      .down_bias = bias(in_width)};
  if (with.fused) {
    op.gate = op.up = small.matrix(gate, in_width, hidden, 2 * kExperts);
    op.gate_bias = op.up_bias = bias(2 * hidden);
  }
  if (with.biases) op.routing.bias = small.vector(kExperts, 0, 1);
  if (with.biases) op.routing.selection_bias = small.vector(kExperts, 0, 0.1f);
  small.program.ops.push_back(op);
  return out;
}

TEST(VulkanBackend, mixesExpertsLikeTheReference) {
  const MixtureFeatures kinds[] = {
      {},
      {.up = Format::Q5_K},
      {.biases = true, .activation = Activation::kClampedSwiglu},
      {.fused = true},
      {.fused = true, .biases = true},
      {.up = Format::Q5_K, .biases = true, .norm = Norm::Kind::kLayer},
      {.routing = {.gate = Routing::Gate::kSigmoid, .groups = 4, .groups_used = 2, .scale = 2.5f}},
      {.routing = {.normalized = false}},
      {.up = Format::F16, .odd = true, .biases = true},
      {.up = Format::F16, .fused = true, .odd = true},
  };
  for (const MixtureFeatures& features : kinds) {
    SCOPED_TRACE(&features - kinds);
    SmallProgram small(kSeed);
    const ValueId out = mixture_layer(small, features);
    for (const uint32_t rows : {1, 3, 20}) expect_equals_reference(small, out, rows);
  }
}

// Queries, keys and values of two sequences that take turns, over several blocks, with what
// families add to attention.
struct AttentionFeatures {
  HeadNorm::Over over = HeadNorm::Over::kEachHead;
  Norm::Kind norm = Norm::Kind::kRms;
  float k_epsilon = 1e-5f;
  bool shared = false;  // a second layer reads the same cache
  bool norms = false, biases = false, rope = true, halves = false, sinks = false;
  float softcap = 0;
  uint32_t window = 0;
  QueryTemperature temperature = {};
};

ValueId attention_layer(SmallProgram& small, const Heads& heads, const AttentionFeatures& with) {
  const auto norm = [&](uint32_t count, float epsilon) -> HeadNorm {
    if (!with.norms) return {};
    const uint32_t width = with.over == HeadNorm::Over::kEachHead ? 1 : count;
    return {{.weight = small.vector(width * heads.key_width, 1, 0.2f),
             .epsilon = epsilon,
             .bias = with.biases ? small.vector(width * heads.key_width, 0, 1) : kAbsent,
             .kind = with.norm},
            with.over};
  };
  const ValueId q = small.embed(heads.queries * heads.key_width);
  const ValueId k = small.embed(heads.keys * heads.key_width);
  const ValueId v = small.embed(heads.keys * heads.value_width);
  const ValueId out = small.program.add_value(heads.queries * heads.value_width);
  const ValueId other_q = with.shared ? small.embed(heads.queries * heads.key_width) : q;
  Rope rope{.frequencies = {1, 0.3, 0.1, 0.03}, .magnitude = 1.1f};
  if (with.halves) rope.pairs = Rope::Pairs::kHalves;
  small.program.ropes = {rope};
  small.program.layers = {heads};
  small.program.ops.push_back(CacheAppend{.q = q,
                                          .k = k,
                                          .v = v,
                                          .q_norm = norm(heads.queries, 1e-5f),
                                          .k_norm = norm(heads.keys, with.k_epsilon),
                                          .rope = with.rope ? 0 : kAbsent,
                                          .layer = 0,
                                          .temperature = with.temperature});
  if (with.shared) {
    small.program.ops.push_back(CacheAppend{.q = other_q,
                                            .k = kAbsent,
                                            .v = kAbsent,
                                            .q_norm = norm(heads.queries, 1e-5f),
                                            .k_norm = {},
                                            .rope = 0,
                                            .layer = 0});
  }
  small.program.ops.push_back(
      Attention{.q = other_q,
                .out = out,
                .layer = 0,
                .scale = 1 / std::sqrt(static_cast<float>(heads.key_width)),
                .softcap = with.softcap,
                .window = with.window,
                .sinks = with.sinks ? small.vector(heads.queries, 0, 1) : kAbsent});
  return out;
}

// `rows` rows of each of two sequences that have `past` positions already.
std::vector<float> attend(Backend& backend, const SmallProgram& small, ValueId out, uint32_t past,
                          uint32_t rows) {
  const std::vector<std::vector<uint32_t>> tables = {{3, 1, 8, 10, 4, 12, 14, 16, 18, 20, 22, 24},
                                                     {0, 2, 7, 9, 5, 11, 13, 15, 17, 19, 21, 23}};
  const auto cache = test::make_cache(backend, small, 25);
  const auto both = [&](uint32_t first, uint32_t end) {
    test::TestBatch batch{{}, tables};
    for (uint32_t s = 0; s < 2; ++s) {
      for (uint32_t p = first; p < end; ++p) {
        batch.rows.push_back({s, p, static_cast<int32_t>((p * 31 + s * 17) % 97)});
      }
    }
    return batch;
  };
  if (past) test::run(backend, small, out, *cache, both(0, past));
  return test::run(backend, small, out, *cache, both(past, past + rows));
}

TEST(VulkanBackend, attendsLikeTheReference) {
  using Over = HeadNorm::Over;
  const AttentionFeatures kinds[] = {
      {},
      {.rope = false},
      {.over = Over::kEachHead, .norms = true, .halves = true},
      {.over = Over::kOwnHead, .norms = true},
      {.over = Over::kAllHeads, .norms = true},
      {.over = Over::kOwnHead, .norm = Norm::Kind::kLayer, .norms = true},
      {.over = Over::kOwnHead, .norm = Norm::Kind::kLayer, .norms = true, .biases = true},
      {.over = Over::kAllHeads, .norm = Norm::Kind::kLayer, .norms = true, .biases = true},
      {.over = Over::kEachHead, .k_epsilon = 0.1f, .norms = true},
      {.shared = true, .norms = true},
      {.sinks = true, .softcap = 2},
      {.window = 70},
      {.temperature = {.slope = 0.1f, .length = 50}},
  };
  const auto reference = make_reference_backend();
  for (const AttentionFeatures& features : kinds) {
    SCOPED_TRACE(&features - kinds);
    SmallProgram small(kSeed);
    const ValueId out = attention_layer(small, {6, 2, 32, 16}, features);
    // One row of each, without splits and with; and a prompt that ends in padding.
    for (const auto& [past, rows] : {std::pair{90u, 1u}, {300u, 2u}, {70u, 13u}}) {
      test::expect_close(attend(test::vulkan_backend(), small, out, past, rows),
                         attend(*reference, small, out, past, rows), 2e-5);
    }
  }
}

}  // namespace
}  // namespace quern::kernels
