// Projections on the CPU against the scalar reference.
#include "kernels/cpu/linear.h"
#include "kernels/cpu/normalize.h"

#include <gtest/gtest.h>

#include "tests/kernels/small_program.h"
#include "tests/kernels/targets.h"

namespace quern::kernels::cpu {
namespace {

using gguf::Format;
using test::SmallProgram;

constexpr uint32_t kSeed = 20240617;

struct Features {
  bool norm = false, bias = false, gate = false, residual = false;
};

struct Shape {
  uint32_t in, out, rows;
};

// Activations that int8 codes hold exactly: multiples of 1/64 up to 127/64, reached in every 32.
std::vector<float> exact_table(SmallProgram& small, uint32_t width) {
  std::vector<float> table(SmallProgram::kTokens * width);
  for (size_t i = 0; i < table.size(); ++i) {
    const int code = static_cast<int>(small.random() % 255) - 127;
    table[i] = static_cast<float>(i % 32 == 0 ? 127 : code) / 64.0f;
  }
  return table;
}

// One projection of the value `in`; returns its output.
ValueId project(SmallProgram& small, ValueId in, Format format, const Shape& shape,
                const Features& with) {
  Projection op{.in = in, .norm = {}, .outputs = {}};
  if (with.norm) op.norm = {small.vector(shape.in, 1, 0.2f), 1e-5f};
  if (with.gate) op.activation = Activation::kSilu;
  const ValueId add = with.residual ? small.embed(shape.out) : kAbsent;
  const ValueId out = small.program.add_value(shape.out);
  for (int i = 0; i <= int{with.gate}; ++i) {
    op.outputs.push_back({.weight = small.matrix(format, shape.in, shape.out),
                          .bias = with.bias ? small.vector(shape.out, 0, 1) : kAbsent,
                          .out = out,
                          .add = i == 0 ? add : kAbsent});
  }
  small.program.ops.push_back(op);
  return out;
}

class ProjectionTest : public testing::TestWithParam<Format> {
 protected:
  bool is_float() const { return gguf::info(GetParam()).is_float(); }

  // Compares both backends for every combination of features and random shapes. The error of one
  // factor of a gated unit is multiplied by the other, which reaches four deviations.
  template <typename Table>
  void expect_equals_reference(bool with_norm, double tolerance, Table&& table) {
    const auto cpu = make_cpu_backend(2), reference = make_reference_backend();
    for (uint32_t mask = 0; mask < 8; ++mask) {
      SmallProgram small(kSeed + mask);
      SCOPED_TRACE(testing::Message() << "seed " << kSeed + mask);
      const uint32_t block = gguf::info(GetParam()).block_values;
      const uint32_t blocks = is_float() ? 20 + small.random() % 200 : 1 + small.random() % 3;
      const Shape shape{blocks * block, static_cast<uint32_t>(1 + small.random() % 40),
                        static_cast<uint32_t>(1 + small.random() % 20)};
      const ValueId in = small.embed(shape.in, table(small, shape.in));
      const ValueId out = project(small, in, GetParam(), shape,
                                  {.norm = with_norm,
                                   .bias = (mask & 1) != 0,
                                   .gate = (mask & 2) != 0,
                                   .residual = (mask & 4) != 0});
      test::expect_close(test::run(*cpu, small, out, shape.rows),
                         test::run(*reference, small, out, shape.rows),
                         tolerance * (mask & 2 ? 4 : 1));
    }
  }
};

// Only the rounding of f32 chains is left: at most 770 values with |w x| of about 1 / 28 each, and
// minimums that cancel most of a Q4_K sum, are far below 20 steps of 2^-24.
TEST_P(ProjectionTest, equalsTheReferenceWhereActivationsAreExact) {
  expect_equals_reference(false, 2e-6, exact_table);
}

// What the rounding of normalized activations costs, as a part of y. F32 and F16 see the norm's
// rounding only. BF16 rounds to 8 bits: an error of deviation 2^-9 / sqrt(3). A quantized format
// rounds to a step of at most a = max|x| / 127 of 256 values: a / sqrt(12), with max|x| about 2.8
// deviations of x. Five deviations each, for the largest of some 800 outputs.
double rounding_error(Format format) {
  if (format == Format::BF16) return 6 * 0.0012;
  return gguf::info(format).is_float() ? 3e-6 : 6 * 0.0055;
}

TEST_P(ProjectionTest, equalsTheReferenceAfterANorm) {
  expect_equals_reference(true, rounding_error(GetParam()),
                          [](SmallProgram& small, uint32_t width) {
                            return small.normal(SmallProgram::kTokens * width, 0.3f, 2);
                          });
}

INSTANTIATE_TEST_SUITE_P(Formats, ProjectionTest,
                         testing::Values(Format::F32, Format::F16, Format::BF16, Format::Q8_0,
                                         Format::Q4_K),
                         [](const auto& test) { return std::string(gguf::info(test.param).name); });

// The second plane has what rounding to the first one's 127 steps left, and rounds it likewise.
TEST(Projection, withTwoPlanesIsAHundredTimesCloserForAnyNumberOfRows) {
  const auto cpu = make_cpu_backend(2), reference = make_reference_backend();
  for (const Format format : {Format::Q8_0, Format::Q6_K, Format::Q2_K, Format::F32}) {
    SmallProgram small(kSeed);
    constexpr uint32_t kIn = 768, kOut = 40;
    const ValueId in = small.embed(kIn, small.normal(SmallProgram::kTokens * kIn, 0.3f, 2));
    const ValueId out = project(small, in, format, {kIn, kOut, 0}, {.norm = true, .bias = true});
    std::get<Projection>(small.program.ops.back()).planes = 2;
    const auto all = test::run(*cpu, small, out, 90);
    test::expect_close(all, test::run(*reference, small, out, 90),
                       rounding_error(Format::Q8_0) / 100);
    for (const uint32_t rows : {1, 2, 3, 5, 8, 13}) {
      const auto some = test::run(*cpu, small, out, rows);
      EXPECT_TRUE(std::equal(some.begin(), some.end(), all.begin())) << rows;
    }
  }
}

TEST(Projection, equalsTheReferenceForEveryActivationLayerNormScaleAndGate) {
  const auto cpu = make_cpu_backend(2), reference = make_reference_backend();
  for (const auto activation :
       {Activation::kNone, Activation::kSilu, Activation::kGelu, Activation::kReluSquared,
        Activation::kSigmoid, Activation::kClampedSwiglu}) {
    for (const bool gated : {false, true}) {
      const bool always_gated = activation == Activation::kClampedSwiglu;
      if (gated ? activation == Activation::kNone : always_gated) continue;
      SCOPED_TRACE(testing::Message() << static_cast<int>(activation) << gated);
      SmallProgram small(kSeed);
      const ValueId in = small.embed(64, small.normal(SmallProgram::kTokens * 64, 3, 2));
      const ValueId add = small.embed(40), out = small.program.add_value(40);
      Projection op{.in = in,
                    .norm = {.weight = small.vector(64, 2, 0.5f),
                             .epsilon = 1e-5f,
                             .bias = small.vector(64, 0, 1),
                             .kind = Norm::Kind::kLayer},
                    .outputs = {},
                    .activation = activation};
      for (int i = 0; i <= int{gated}; ++i) {
        op.outputs.push_back({.weight = small.matrix(Format::F32, 64, 40),
                              .bias = small.vector(40, 0, 3),
                              .out = out,
                              .add = i == 0 ? add : kAbsent});
      }
      if (activation == Activation::kNone) {
        op.outputs[0].scale = 0.22f;
        op.outputs[0].gate = small.embed(1);
      }
      small.program.ops.push_back(op);
      test::expect_close(test::run(*cpu, small, out, 9), test::run(*reference, small, out, 9),
                         1e-5);
    }
  }
}

TEST(AddNormed, equalsTheReferenceForBothNorms) {
  const auto cpu = make_cpu_backend(2), reference = make_reference_backend();
  for (const auto kind : {Norm::Kind::kRms, Norm::Kind::kLayer}) {
    SmallProgram small(kSeed);
    const ValueId x = small.embed(70), branch = small.embed(70);
    const Norm norm{.weight = small.vector(70, 1, 0.5f), .epsilon = 1e-5f, .kind = kind};
    small.program.ops.push_back(
        AddNormed{.in = branch, .norm = norm, .out = x, .add = x, .scale = 0.3f});
    test::expect_close(test::run(*cpu, small, x, 7), test::run(*reference, small, x, 7), 2e-6);
  }
}

TEST(SoftCap, bendsValuesTowardsTheCap) {
  SmallProgram small(kSeed);
  const ValueId x = small.embed(30, small.normal(SmallProgram::kTokens * 30, 0, 40));
  const auto cpu = make_cpu_backend(2), reference = make_reference_backend();
  const auto before = test::run(*cpu, small, x, 7);
  small.program.ops.push_back(SoftCap{x, 30});
  const auto after = test::run(*cpu, small, x, 7);
  test::expect_close(after, test::run(*reference, small, x, 7), 1e-6);
  for (size_t i = 0; i < after.size(); ++i) {
    EXPECT_NEAR(after[i], 30 * std::tanh(double{before[i]} / 30), 1e-5);
  }
}

TEST(Embed, scalesTheTokenAndAddsThePosition) {
  for (const auto& backend : {make_cpu_backend(2), make_reference_backend()}) {
    SmallProgram small(kSeed);
    const std::vector<float> table = small.normal(SmallProgram::kTokens * 6);
    const std::vector<float> positions = small.normal(5 * 6);
    const ValueId x = small.embed(6, table);
    auto& op = std::get<Embed>(small.program.ops.back());
    op.scale = 3;
    op.positions = small.floats({6, 5, 1, 1}, positions);
    const auto cache = test::make_cache(*backend, small, 0);
    const test::TestBatch batch = test::one_sequence(2, 5, {});
    const auto found = test::run(*backend, small, x, *cache, batch);
    for (size_t i = 0; i < found.size(); ++i) {
      const auto token = static_cast<size_t>(batch.rows[i / 6].token);
      EXPECT_NEAR(found[i], 3 * table[token * 6 + i % 6] + positions[12 + i], 1e-6);
    }
  }
}

TEST(Projection, severalOutputsShareOneInputAndItsNorm) {
  SmallProgram small(kSeed);
  const ValueId in = small.embed(256);
  Projection op{.in = in, .norm = {small.vector(256, 1, 0.2f), 1e-5f}, .outputs = {}};
  for (const auto& [format, out] : {std::pair(Format::F32, 40u), std::pair(Format::Q8_0, 33u),
                                    std::pair(Format::BF16, 21u), std::pair(Format::Q4_K, 16u)}) {
    op.outputs.push_back(
        {.weight = small.matrix(format, 256, out), .out = small.program.add_value(out)});
  }
  small.program.ops.push_back(op);
  const auto cpu = make_cpu_backend(2), reference = make_reference_backend();
  for (const Linear& linear : op.outputs) {
    test::expect_close(test::run(*cpu, small, linear.out, 9),
                       test::run(*reference, small, linear.out, 9),
                       rounding_error(small.weights[linear.weight].format));
  }
}

TEST(Projection, addsToItsOwnOutputInPlace) {
  SmallProgram small(kSeed);
  const ValueId in = small.embed(64), x = small.embed(48);
  Linear linear{.weight = small.matrix(Format::F32, 64, 48), .out = x, .add = x};
  small.program.ops.push_back(Projection{.in = in, .norm = {}, .outputs = {linear}});
  const auto cpu = make_cpu_backend(2), reference = make_reference_backend();
  test::expect_close(test::run(*cpu, small, x, 5), test::run(*reference, small, x, 5), 2e-6);
}

TEST(Projection, packsRowsThatAreNarrowerThanTheirValue) {
  SmallProgram small(kSeed);
  const ValueId in = small.embed(64), out = small.program.add_value(24);
  const ValueId wide = small.program.add_value(100);
  const Linear narrow{.weight = small.matrix(Format::F32, 64, 32), .out = wide};
  const Linear last{.weight = small.matrix(Format::F32, 32, 24), .out = out};
  small.program.ops.push_back(Projection{.in = in, .norm = {}, .outputs = {narrow}});
  small.program.ops.push_back(Projection{.in = wide, .norm = {}, .outputs = {last}});
  const auto cpu = make_cpu_backend(2), reference = make_reference_backend();
  test::expect_close(test::run(*cpu, small, out, 5), test::run(*reference, small, out, 5), 3e-6);
}

TEST(Projection, givesTheSameBitsForAnyThreadsAndForRowsOneByOne) {
  for (const Format format : {Format::F16, Format::Q8_0, Format::Q4_K}) {
    SmallProgram small(kSeed);
    const ValueId in = small.embed(512);
    const ValueId out = project(small, in, format, {512, 50, 0},
                                {.norm = true, .bias = true, .gate = true, .residual = true});
    const auto first = make_cpu_backend(1);
    const std::vector<float> expected = test::run(*first, small, out, 21);
    test::for_each_instruction_set([&](bool exact) {
      if (!exact) return;
      for (const size_t threads : {1, 2, 3}) {
        const auto cpu = make_cpu_backend(threads);
        test::expect_same(test::run(*cpu, small, out, 21), expected);
        const auto cache = test::make_cache(*cpu, small, 0);
        std::vector<float> single;
        const test::TestBatch all = test::one_sequence(0, 21, {});
        for (size_t row = 0; row < 21; ++row) {
          const auto y = test::run(*cpu, small, out, *cache, all.part(row, row + 1));
          single.insert(single.end(), y.begin(), y.end());
        }
        test::expect_same(single, expected);
      }
    });
  }
}

TEST(Projection, givesTheSameBitsFromPackedWeights) {
  struct Pair {
    Format gate, up;
    uint32_t width;  // tiles of gate and up alternate in memory if 32 divides it
  };
  for (const auto& [gate, up, width] :
       {Pair{Format::Q4_K, Format::Q6_K, 96}, Pair{Format::Q8_0, Format::Q8_0, 50},
        Pair{Format::F16, Format::F16, 64}, Pair{Format::MXFP4, Format::F32, 64}}) {
    SmallProgram small(kSeed);
    const ValueId in = small.embed(512), out = small.program.add_value(width);
    const ValueId last = small.program.add_value(40);
    small.program.ops.push_back(
        Projection{.in = in,
                   .norm = {},
                   .outputs = {{.weight = small.matrix(gate, 512, width), .out = out},
                               {.weight = small.matrix(up, 512, width), .out = out}},
                   .activation = Activation::kSilu});
    const Linear next{.weight = small.matrix(Format::F32, width, 40), .out = last};
    small.program.ops.push_back(Projection{.in = out, .norm = {}, .outputs = {next}});
    const auto cpu = make_cpu_backend(2);
    for (const uint32_t rows : {1, 9}) {
      test::expect_same(test::run(*cpu, small, last, rows, WeightHome::kPacked),
                        test::run(*cpu, small, last, rows, WeightHome::kMapped));
    }
  }
}

TEST(Projection, tellsOfPackedBytesLongBeforeALargeWeightIsDone) {
  SmallProgram small(kSeed);
  const ValueId in = small.embed(2048), out = small.program.add_value(8192);
  const Linear linear{.weight = small.matrix(Format::Q8_0, 2048, 8192), .out = out};
  small.program.ops.push_back(Projection{.in = in, .norm = {}, .outputs = {linear}});
  small.program.finish(out);
  const auto cpu = make_cpu_backend(2);
  const auto cache = test::make_cache(*cpu, small, 0);
  const size_t all = small.weights[linear.weight].bytes.size();
  const MaxBatch max = {.rows = 1, .logit_rows = 1, .positions = 1};
  const auto executable =
      *cpu->compile(small.program, small.weights, *cache, max, WeightHome::kPacked);
  size_t told = 0;
  const PackObserver observer = [&](WeightId weight, size_t bytes) {
    EXPECT_EQ(weight, linear.weight);
    EXPECT_GT(bytes, told);
    EXPECT_LE(bytes - told, size_t{8} << 20);
    told = bytes;
    return true;
  };
  const auto stopped = executable->pack(
      all, [&](WeightId weight, size_t bytes) { return !observer(weight, bytes); });
  EXPECT_EQ(stopped.error().code, "cancelled");
  EXPECT_LT(told, all);
  EXPECT_EQ(executable->pack(all, observer), 0);
  EXPECT_EQ(told, all);
}

// Runs a program after each tile that is packed. `out`: its result.
void expect_same_wherever_packing_stands(SmallProgram& small, ValueId out) {
  small.program.finish(out);
  const auto cpu = make_cpu_backend(2);
  const auto cache = test::make_cache(*cpu, small, 0);
  const MaxBatch max = {.rows = 3, .logit_rows = 1, .positions = 3};
  const auto executable =
      *cpu->compile(small.program, small.weights, *cache, max, WeightHome::kPacked);
  const auto run = [&] {
    const std::vector<int32_t> tokens{3, 34, SmallProgram::kTokens - 1};
    const std::vector<uint32_t> positions{0, 1, 2}, sequences(3);
    const std::vector<std::span<const uint32_t>> tables(1);
    const std::atomic<bool> never{false};
    const auto found = *executable->run({.tokens = tokens,
                                         .positions = positions,
                                         .sequences = sequences,
                                         .block_tables = tables,
                                         .logit_rows = {}},
                                        never);
    return std::vector<float>(found.begin(), found.end());
  };
  const std::vector<float> mapped = run();
  uint64_t left = *executable->pack(0);
  EXPECT_GT(left, 0);
  for (uint64_t before; left > 0;) {
    before = left;
    left = *executable->pack(1);
    ASSERT_LT(left, before);
    test::expect_same(run(), mapped);
  }
}

// Gate and up, which alternate in packed memory; a last tile of 8 rows; an F32 matrix.
TEST(Packing, changesNoProductWhereverItStands) {
  for (const Format format : {Format::Q4_K, Format::F16}) {
    SmallProgram small(kSeed);
    const ValueId in = small.embed(256), hidden = small.program.add_value(128);
    const ValueId wide = small.program.add_value(256), out = small.program.add_value(40);
    const auto project = [&](ValueId from, std::vector<Linear> outputs, Activation activation) {
      small.program.ops.push_back(Projection{
          .in = from, .norm = {}, .outputs = std::move(outputs), .activation = activation});
    };
    project(in,
            {{.weight = small.matrix(format, 256, 128), .out = hidden},
             {.weight = small.matrix(format, 256, 128), .out = hidden}},
            Activation::kSilu);
    project(hidden, {{.weight = small.matrix(Format::F32, 128, 256), .out = wide}},
            Activation::kNone);
    project(wide, {{.weight = small.matrix(format, 256, 40), .out = out}}, Activation::kNone);
    expect_same_wherever_packing_stands(small, out);
  }
}

// An embedding that is the output's matrix, too.
TEST(Packing, changesNoRowOfATableWhereverItStands) {
  for (const Format format : {Format::Q6_K, Format::MXFP4, Format::BF16, Format::F32}) {
    SmallProgram small(kSeed);
    const WeightId table = small.matrix(format, 256, SmallProgram::kTokens);
    const ValueId in = small.program.add_value(256);
    const ValueId out = small.program.add_value(SmallProgram::kTokens);
    small.program.ops.push_back(Embed{table, in});
    small.program.ops.push_back(
        Projection{.in = in, .norm = {}, .outputs = {{.weight = table, .out = out}}});
    expect_same_wherever_packing_stands(small, out);
  }
}

TEST(Projection, showsNotANumberInEveryOutputOfItsRowOnly) {
  for (const Format format : {Format::F32, Format::Q8_0}) {
    SmallProgram small(kSeed);
    std::vector<float> table = small.normal(SmallProgram::kTokens * 64);
    table[31 * 64 + 5] = NAN;  // token of position 1
    const ValueId in = small.embed(64, table);
    const ValueId out = project(small, in, format, {64, 20, 0}, {});
    const auto cpu = make_cpu_backend(2);
    const std::vector<float> y = test::run(*cpu, small, out, 3);
    for (size_t i = 0; i < y.size(); ++i) EXPECT_EQ(std::isnan(y[i]), i / 20 == 1) << i;
  }
}

TEST(LayerNorm, takesTheMeanOffByHand) {
  // Mean 3, variance (4 + 0 + 4 + 0) / 4 = 2; epsilon 2 makes the root 2.
  const float x[] = {1, 3, 5, 3}, weight[] = {2, 1, 1, 1}, bias[] = {0.5f, 0, 0, -1};
  float y[4];
  normalize({.weight = 0, .epsilon = 2, .bias = 1, .kind = Norm::Kind::kLayer}, {weight, bias}, x,
            4, y);
  const float expected[] = {-1.5f, 0, 1, -1};
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(y[i], expected[i], 1e-6);
}

TEST(RmsNorm, dividesByTheRootMeanSquare) {
  // mean(x^2) = (9 + 16 + 0 + 0) / 4 = 6.25; epsilon 2.75 makes the root 3.
  const float x[] = {3, -4, 0, 0}, weight[] = {1, 0.5f, 1, 1};
  float y[4];
  normalize({.weight = 0, .epsilon = 2.75f}, {.weight = weight}, x, 4, y);
  EXPECT_NEAR(y[0], 1.0, 1e-6);
  EXPECT_NEAR(y[1], -2.0 / 3, 1e-6);
  EXPECT_EQ(y[2], 0);
}

}  // namespace
}  // namespace quern::kernels::cpu
