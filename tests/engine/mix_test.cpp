#include "engine/mix.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "gguf/file.h"
#include "tests/golden_path.h"

namespace quern::engine {
namespace {

using F = gguf::Format;

// The quantized forms of the bundled model were made by the field's usual quantizer: the rules must
// give each of their tensors the format that it gave.
void expect_same_formats(const std::string& path, std::string_view mix_name) {
  SCOPED_TRACE(path);
  const auto file = gguf::File::open(path);
  ASSERT_TRUE(file) << file.error().to_string();
  std::vector<MixTensor> tensors;
  for (const gguf::TensorView& tensor : file->tensors())
    tensors.push_back({tensor.name, tensor.shape});
  const Mix* mix = find_mix(mix_name);
  ASSERT_TRUE(mix);
  const auto formats =
      apply_mix(*mix, {.architecture = "llama", .layers = 6, .queries_per_key = 2}, tensors);
  for (size_t i = 0; i < tensors.size(); ++i) {
    EXPECT_EQ(formats[i].value_or(F::F32), file->tensors()[i].format) << tensors[i].name;
  }
}

TEST(Mix, givesTheBundledModelItsFormats) {
  expect_same_formats(std::string(QUERN_SOURCE_DIR) + "/models/quern-tiny-stories-Q4_K_M.gguf",
                      "q4_k_m");
}

TEST(Mix, givesEveryFormOfTheBundledModelItsFormats) {
  for (const char* name :
       {"f16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K", "Q4_0", "IQ4_XS"}) {
    const auto path =
        test::shared_golden(std::string("../models/quern-tiny-stories-") + name + ".gguf");
    if (!path) GTEST_SKIP() << "the other forms are not here";
    expect_same_formats(*path, name);
  }
}

// The example of the specification: Q4_K_M with 32 layers.
TEST(Mix, q4kmTakesMoreBitsInTheOuterLayersAndEveryThirdOneBetween) {
  std::vector<std::string> names;
  for (int layer = 31; layer >= 0; --layer) {
    names.push_back("blk." + std::to_string(layer) + ".attn_v.weight");
    names.push_back("blk." + std::to_string(layer) + ".ffn_down.weight");
    names.push_back("blk." + std::to_string(layer) + ".attn_q.weight");
    names.push_back("blk." + std::to_string(layer) + ".attn_norm.weight");
  }
  std::vector<MixTensor> tensors;
  for (const std::string& name : names) {
    tensors.push_back({name, {4096, name.ends_with("norm.weight") ? 1u : 4096u, 1, 1}});
  }
  const auto formats =
      apply_mix(*find_mix("Q4_K_M"), {.architecture = "llama", .layers = 32}, tensors);
  const std::set<int> more = {0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31};
  for (size_t i = 0; i < names.size(); i += 4) {
    const int layer = 31 - static_cast<int>(i) / 4;
    EXPECT_EQ(formats[i], more.contains(layer) ? F::Q6_K : F::Q4_K) << layer;
    EXPECT_EQ(formats[i + 1], more.contains(layer) ? F::Q6_K : F::Q4_K) << layer;
    EXPECT_EQ(formats[i + 2], F::Q4_K);
    EXPECT_EQ(formats[i + 3], std::nullopt);
  }
}

TEST(Mix, rowsThatDoNotHoldWholeBlocksGetTheUsualSubstitute) {
  const auto format = [](const char* mix, uint64_t width) {
    const MixTensor tensor{"blk.3.ffn_gate.weight", {width, 8, 1, 1}};
    return *apply_mix(*find_mix(mix), {.architecture = "llama", .layers = 8}, {&tensor, 1})[0];
  };
  EXPECT_EQ(format("Q2_K", 96), F::Q4_0);
  EXPECT_EQ(format("Q4_K_M", 96), F::Q5_0);
  EXPECT_EQ(format("Q5_K_M", 96), F::Q5_1);
  EXPECT_EQ(format("Q6_K", 96), F::Q8_0);
  EXPECT_EQ(format("IQ4_XS", 96), F::IQ4_NL);
  EXPECT_EQ(format("Q6_K", 80), F::F16);
}

TEST(Mix, expertStacksOfMxfp4MoeAreMxfp4) {
  const MixTensor tensors[] = {{"blk.0.ffn_up_exps.weight", {64, 64, 4, 1}},
                               {"blk.0.attn_q.weight", {64, 64, 1, 1}},
                               {"blk.0.ffn_gate_inp.weight", {64, 4, 1, 1}}};
  const auto formats = apply_mix(*find_mix("MXFP4_MOE"), {.layers = 1, .experts = 4}, tensors);
  EXPECT_EQ(formats[0], F::MXFP4);
  EXPECT_EQ(formats[1], F::Q8_0);
  EXPECT_EQ(formats[2], std::nullopt);
}

}  // namespace
}  // namespace quern::engine
