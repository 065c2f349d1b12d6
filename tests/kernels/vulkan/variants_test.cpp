// Variants of products: each one's products of every format within its bound of the scalar
// reference, many prologues, epilogues and whole models close to the exact variant's.
#include "kernels/vulkan/variants.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <random>

#include "kernels/cpu/reference.h"
#include "kernels/vulkan/codebooks.h"
#include "shaders/modules.h"
#include "shaders/shared.h"
#include "tests/golden_model.h"
#include "tests/kernels/random_blocks.h"
#include "tests/kernels/small_program.h"
#include "tests/kernels/vulkan/shader_test.h"
#include "tests/temporary_folder.h"

namespace quern::kernels {
namespace {

using gguf::Format;
using gguf::FormatInfo;
using test::Floats;
using test::SmallProgram;
using vulkan::Buffer;
using vulkan::Variant;

std::vector<Variant> usable_variants() {
  std::vector<Variant> usable;
  for (const Variant& variant : vulkan::variants()) {
    if (variant.runs_on(test::vulkan_device().caps())) usable.push_back(variant);
  }
  return usable;
}

TEST(VulkanVariants, beginWithTheFastestAndEndWithTheExact) {
  std::vector<std::string_view> names;
  for (const Variant& variant : vulkan::variants()) names.push_back(variant.name);
  EXPECT_THAT(names, ::testing::ElementsAre("coopmat", "int8", "fp16", "fp32"));
  EXPECT_EQ(vulkan::exact_variant().bound, 0);
  EXPECT_EQ(vulkan::exact_variant().kernel("matvec_q4_k"), "matvec_q4_k");
  EXPECT_EQ(vulkan::find_variant("int8")->kernel("matvec_q4_k"), "matvec_q4_k_int8");
  EXPECT_EQ(vulkan::find_variant("int9"), nullptr);
}

constexpr uint32_t kWidth = 768, kOuts = 70, kRows = 3;

// A row of weights and one of activations in double precision.
struct Expected {
  Expected(const float* w, const float* x) {
    double squares = 0, top = 0;
    for (uint32_t k = 0; k < kWidth; ++k) {
      sum += double{w[k]} * x[k];
      magnitude += std::abs(double{w[k]} * x[k]);
      squares += double{w[k]} * w[k];
      top = std::max(top, std::abs(double{x[k]}));
    }
    scale = std::sqrt(squares) * top;
  }
  double sum = 0, magnitude = 0, scale = 0;
};

class VariantFormats : public ::testing::TestWithParam<FormatInfo> {
 protected:
  static std::string kernel_name(std::string_view shader) {
    std::string name = fmt::format("{}_{}", shader, GetParam().name);
    for (char& c : name) c = static_cast<char>(std::tolower(c));
    return name;
  }
  static bool is_offered(const Variant& variant, std::string_view shader) {
    return test::vulkan_device().offers(variant.kernel(kernel_name(shader)));
  }

  void expect_products(const Variant& variant, const Buffer& out) const {
    const Floats found = test::vulkan_values<float>(out, kRows * kOuts);
    for (size_t i = 0; i < found.size(); ++i) {
      const Expected expected(&values_[i % kOuts * kWidth], &x_[i / kOuts * kWidth]);
      const double bound =
          2e-6 * expected.magnitude + double{variant.bound} * expected.scale + 1e-30;
      ASSERT_NEAR(found[i], expected.sum, bound)
          << variant.name << ", row " << i / kOuts << ", output " << i % kOuts;
    }
  }

  std::mt19937 random_{21};
  const std::vector<std::byte> matrix_ = test::random_matrix(GetParam(), kOuts, kWidth, random_);
  const Floats values_ = [this] {
    Floats values(kOuts * kWidth);
    cpu::reference::decode_row(GetParam().format, matrix_.data(), values.data(), values.size());
    return values;
  }();
  const Floats x_ = test::normal(kRows * kWidth, random_);
  const Buffer weight_ = test::vulkan_buffer(matrix_), in_ = test::vulkan_buffer(x_);
  const Buffer codebooks_ = test::vulkan_buffer(vulkan::codebook_bytes());
};

TEST_P(VariantFormats, productsAreWithinTheBound) {
  for (const Variant& variant : usable_variants()) {
    const Buffer out = test::vulkan_buffer(Floats(kRows * kOuts));
    const shaders::MatmulPush push = {.weight = weight_.address(),
                                      .x = in_.address(),
                                      .out_rows = out.address(),
                                      .codebooks = codebooks_.address(),
                                      .in_width = kWidth,
                                      .out_width = kOuts,
                                      .rows = kRows};
    if (is_offered(variant, "matvec")) {
      test::dispatch(variant.kernel(kernel_name("matvec")), {64, 0, kRows, 0}, push, {.x = 9});
      expect_products(variant, out);
    }
    if (is_offered(variant, "matmul")) {
      test::dispatch(variant.kernel(kernel_name("matmul")), {shaders::kMatmulWidth, 0, 0}, push,
                     {.x = 2});
      expect_products(variant, out);
    }
  }
}

// Codes are what int8 and fp16 multiply, and float formats have none; matrix units need many rows.
TEST_P(VariantFormats, haveTheShadersOfTheirVariants) {
  const bool codes = !GetParam().is_float();
  for (const Variant& variant : vulkan::variants()) {
    const bool matrices = variant.name == "coopmat", exact = variant.name == "fp32";
    EXPECT_EQ(is_offered(variant, "matvec"), exact || (codes && !matrices)) << variant.name;
    EXPECT_EQ(is_offered(variant, "matmul"), exact || codes || matrices) << variant.name;
  }
}

// No device of the tests has matrix units: that their shaders are valid is all that can be shown.
TEST_P(VariantFormats, shadersForMatrixUnitsAreValid) {
  if (std::system("spirv-val --version > /dev/null 2>&1") != 0) GTEST_SKIP() << "no spirv-val";
  const test::TemporaryFolder folder;
  const auto* module = shaders::find_module(kernel_name("matmul") + "_coopmat");
  ASSERT_NE(module, nullptr);
  const std::string path = folder.file("module.spv");
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(module->words.data()),
             static_cast<std::streamsize>(module->words.size_bytes()));
  const std::string check = "spirv-val --target-env vulkan1.2 --scalar-block-layout " + path +
                            " > " + folder.file("said") + " 2>&1";
  if (std::system(check.c_str()) == 0) return;
  std::ifstream file(folder.file("said"));
  const std::string said(std::istreambuf_iterator<char>(file), {});
  if (shaders::kKhrMatrices && said.find("Invalid capability operand: 6022") != said.npos) {
    GTEST_SKIP() << "this spirv-val does not know SPV_KHR_cooperative_matrix";
  }
  ADD_FAILURE() << said;
}

INSTANTIATE_TEST_SUITE_P(AllFormats, VariantFormats, ::testing::ValuesIn(gguf::kFormats),
                         [](const auto& format) { return std::string(format.param.name); });

// Uses variants for as long as it lives.
class InUse {
 public:
  InUse(std::string_view few, std::string_view many) {
    test::vulkan_backend().use_variants(few, many);
  }
  ~InUse() { test::vulkan_backend().use_variants("fp32", "fp32"); }
  InUse(const InUse&) = delete;
  InUse& operator=(const InUse&) = delete;
};

// Norm, gated unit with a matrix of its own format, and a residual add.
ValueId gated_unit(SmallProgram& small, Format format) {
  constexpr uint32_t kIn = 512, kOut = 72;
  Projection op{.in = small.embed(kIn),
                .norm = {small.vector(kIn, 1, 0.2f), 1e-5f},
                .outputs = {},
                .activation = Activation::kSilu};
  const ValueId add = small.embed(kOut), out = small.program.add_value(kOut);
  op.outputs.push_back({.weight = small.matrix(format, kIn, kOut), .out = out, .add = add});
  op.outputs.push_back({.weight = small.matrix(format, kIn, kOut), .out = out});
  small.program.ops.push_back(op);
  return out;
}

ValueId mixture(SmallProgram& small) {
  constexpr uint32_t kIn = 256, kHidden = 256, kExperts = 8;
  const ValueId in = small.embed(kIn), out = small.program.add_value(kIn);
  small.program.ops.push_back(
      Experts{.in = in,
              .norm = {.weight = small.vector(kIn, 1, 0.2f), .epsilon = 1e-5f},
              .router = small.matrix(Format::F32, kIn, kExperts),
              .gate = small.matrix(Format::Q4_K, kIn, kHidden, kExperts),
              .up = small.matrix(Format::Q4_K, kIn, kHidden, kExperts),
              .down = small.matrix(Format::Q6_K, kHidden, kIn, kExperts),
              .used = 3,
              .out = out,
              .add = in});
  return out;
}

// The largest difference, as a share of the root mean square.
double difference(const std::vector<float>& found, const std::vector<float>& expected) {
  double most = 0, squares = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double apart = std::abs(double{found[i]} - expected[i]);
    most = std::isnan(apart) ? INFINITY : std::max(most, apart);
    squares += double{expected[i]} * expected[i];
  }
  return most / std::sqrt(squares / static_cast<double>(expected.size()));
}

TEST(VulkanVariants, computeNormsGatesAndExpertsCloseToTheReference) {
  const auto reference = make_reference_backend();
  for (const Variant& variant : usable_variants()) {
    const InUse in_use(variant.name, variant.name);
    for (const Format format : {Format::Q4_K, Format::Q6_K, Format::IQ2_XS}) {
      SmallProgram small(7);
      const ValueId out = gated_unit(small, format);
      for (const uint32_t rows : {1, 5, 70}) {
        const double apart = difference(test::run(test::vulkan_backend(), small, out, rows),
                                        test::run(*reference, small, out, rows));
        EXPECT_LE(apart, 10 * variant.bound + 1e-4) << variant.name << ", " << rows << " rows";
        if (variant.bound > 0) {
          EXPECT_GT(apart, 1e-6) << variant.name << " is not in use";
        }
      }
    }
    SmallProgram small(8);
    const ValueId out = mixture(small);
    for (const uint32_t rows : {1, 20}) {
      const double apart = difference(test::run(test::vulkan_backend(), small, out, rows),
                                      test::run(*reference, small, out, rows));
      EXPECT_LE(apart, 10 * variant.bound + 1e-4) << variant.name << ", experts, " << rows;
    }
  }
}

TEST(VulkanVariants, areChosenForFewAndManyRowsApart) {
  SmallProgram small(9);
  const ValueId out = gated_unit(small, Format::Q4_K);
  const auto run = [&](uint32_t rows) {
    return test::run(test::vulkan_backend(), small, out, rows);
  };
  const auto few = run(2), many = run(30);
  {
    const InUse in_use("fp32", "fp16");
    EXPECT_EQ(run(2), few);
    EXPECT_NE(run(30), many);
  }
  const InUse in_use("fp16", "fp32");
  EXPECT_NE(run(2), few);
  EXPECT_EQ(run(30), many);
}

// Logits of a trained model, of which every format is quantized: the reference computes them with
// the same weights. Errors of products are far below the bounds, but add up over the layers.
TEST(VulkanVariants, giveLogitsOfATrainedModelWithinTheirBounds) {
  constexpr double kShare = 5;
  const std::string model = QUERN_SOURCE_DIR "/models/quern-tiny-stories-Q4_K_M.gguf";
  std::vector<int32_t> tokens(24);
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<int32_t>(i * 37 % 400 + 5);
  engine::EngineOptions options{
      .threads = 1, .context = 64, .cache = CacheType::kF32, .batch_rows = 24, .logit_rows = 24};
  const auto logits = [&](size_t chunk) {
    const auto engine = test::load_engine(model, options);
    engine::Sequence sequence = engine->new_sequence();
    return test::run(*engine, sequence, tokens, chunk);
  };
  options.placement.devices = {"reference"};
  const Floats exact = logits(24);
  options.placement.devices = {"vulkan:0"};
  std::vector<Floats> all;
  for (const Variant& variant : usable_variants()) {
    options.placement.variant = variant.name;
    for (const size_t chunk : {1, 24}) {
      all.push_back(logits(chunk));
      const double apart = test::relative_difference(all.back(), exact);
      EXPECT_LE(apart, 2e-4 + kShare * double{variant.bound})
          << variant.name << ", " << chunk << " rows at a time";
    }
  }
  for (size_t i = 2; i < all.size(); ++i) EXPECT_NE(all[i], all[i - 2]);  // each one is its own
}

}  // namespace
}  // namespace quern::kernels
