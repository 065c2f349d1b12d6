// Models whose layers are split between the CPU and Vulkan devices.
#include <gtest/gtest.h>

#include "engine/devices.h"
#include "tests/golden_model.h"

namespace quern::engine {
namespace {

EngineOptions options(Placement placement) {
  return {.threads = 2,
          .context = 96,
          .cache = kernels::CacheType::kF32,
          .batch_rows = 48,
          .logit_rows = 48,
          .sequences = 2,
          .placement = std::move(placement)};
}

// All logits; then 20 tokens are taken back and computed again, in a fork too.
void expect_exact(const test::GoldenModel& golden, EngineOptions options, double bound = 2e-5) {
  options.placement.strict = true;  // the CPU must not do a device's part
  const auto engine = test::load_engine(golden.path, std::move(options));
  Sequence sequence = engine->new_sequence();
  const std::vector<float> whole = test::run(*engine, sequence, golden.tokens, 7);
  EXPECT_LE(test::relative_difference(whole, golden.exact), bound);
  const size_t taken_back = 20, logits = whole.size() / golden.tokens.size();
  sequence.rewind(static_cast<uint32_t>(golden.tokens.size() - taken_back));
  Sequence fork = sequence.fork();
  const std::vector<float> tail(whole.end() - static_cast<ptrdiff_t>(taken_back * logits),
                                whole.end());
  // Recurrent models may go back further than asked.
  const auto end_of = [&](const std::vector<float>& rows) {
    return std::vector<float>(rows.end() - static_cast<ptrdiff_t>(tail.size()), rows.end());
  };
  EXPECT_LE(test::relative_difference(end_of(test::run(*engine, fork, golden.tokens, 48)), tail),
            bound);
  EXPECT_LE(test::relative_difference(end_of(test::run(*engine, sequence, golden.tokens, 1)), tail),
            bound);
}

class VulkanSplit : public ::testing::TestWithParam<const char*> {};

TEST_P(VulkanSplit, everyNumberOfLayersMatchesTheExactForwardPass) {
  const test::GoldenModel golden = test::golden_model(std::string("models/") + GetParam());
  const auto cpu = test::load_engine(golden.path, options({}));
  for (uint32_t layers = 0; layers <= cpu->model().config.layers + 1; ++layers) {
    SCOPED_TRACE(layers);
    expect_exact(golden, options({.devices = {"vulkan:0"}, .layers = layers, .rules = {}}));
  }
}

INSTANTIATE_TEST_SUITE_P(Families, VulkanSplit,
                         ::testing::Values("gemma2", "gemma3", "gpt-oss", "gpt2", "granite",
                                           "llama", "llama-linear-rope", "llama-moe", "llama-yarn",
                                           "llama3-rope", "olmo2", "phi3", "qwen2", "qwen3",
                                           "qwen3moe", "smollm3", "starcoder2"));

// Families without exact logits: against the scalar reference.
class VulkanFamily : public ::testing::TestWithParam<const char*> {};

TEST_P(VulkanFamily, everyNumberOfLayersMatchesTheReference) {
  test::GoldenModel golden = test::golden_model(std::string("families/") + GetParam(), "logits");
  const auto reference = test::load_engine(
      golden.path,
      options({.devices = {"reference"}, .layers = Placement::kEverything, .rules = {}}));
  Sequence sequence = reference->new_sequence();
  golden.exact = test::run(*reference, sequence, golden.tokens, 48);
  for (uint32_t layers = 1; layers <= reference->model().config.layers + 1; ++layers) {
    SCOPED_TRACE(layers);
    expect_exact(golden, options({.devices = {"vulkan:0"}, .layers = layers, .rules = {}}), 2e-4);
  }
}

INSTANTIATE_TEST_SUITE_P(Families, VulkanFamily,
                         ::testing::Values("cohere2", "deepseek2", "deepseek2-fused",
                                           "deepseek2-yarn", "falcon", "falcon-two-norms", "gemma",
                                           "gemma4", "gemma4-experts", "gemma4-inputs", "glm4",
                                           "glm4moe", "granite-nope", "granitehybrid",
                                           "granitehybrid-moe", "granitemoe", "lfm2", "lfm2moe",
                                           "mistral3", "olmo3", "phi3-long", "phi3-short",
                                           "phi3-window", "qwen2moe", "qwen35", "qwen35moe",
                                           "qwen35moe-fused", "stablelm", "stablelm-parallel"));

TEST(VulkanDevices, twoDevicesAndTheCpuTakeTurns) {
  const test::GoldenModel golden = test::golden_model("models/qwen2");
  EngineOptions two = options({.devices = {"vulkan:0", "vulkan:0"}, .layers = 1000, .rules = {}});
  two.open_device = [](const std::string& name) { return make_device(name, ""); };
  expect_exact(golden, two);
  expect_exact(golden,
               options({.devices = {"vulkan:0"}, .layers = 1000, .rules = {{"ffn_down", "cpu"}}}));
}

}  // namespace
}  // namespace quern::engine
