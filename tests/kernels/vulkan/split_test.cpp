// Models whose layers are split between the CPU and Vulkan devices.
#include <gtest/gtest.h>

#include "tests/golden_model.h"

namespace quern::engine {
namespace {

EngineOptions options(Placement placement) {
  return {.threads = 2,
          .context = 64,
          .cache = kernels::CacheType::kF32,
          .batch_rows = 48,
          .logit_rows = 48,
          .sequences = 2,
          .placement = std::move(placement)};
}

// All logits; then 20 tokens are taken back and computed again, in a fork too.
void expect_exact(const test::GoldenModel& golden, Placement placement) {
  const auto engine = test::load_engine(golden.path, options(std::move(placement)));
  Sequence sequence = engine->new_sequence();
  const std::vector<float> whole = test::run(*engine, sequence, golden.tokens, 7);
  EXPECT_LE(test::relative_difference(whole, golden.exact), 2e-5);
  const size_t taken_back = 20, logits = whole.size() / golden.tokens.size();
  sequence.rewind(static_cast<uint32_t>(golden.tokens.size() - taken_back));
  Sequence fork = sequence.fork();
  const std::vector<float> tail(whole.end() - static_cast<ptrdiff_t>(taken_back * logits),
                                whole.end());
  EXPECT_LE(test::relative_difference(test::run(*engine, fork, golden.tokens, 48), tail), 2e-5);
  EXPECT_LE(test::relative_difference(test::run(*engine, sequence, golden.tokens, 1), tail), 2e-5);
}

class VulkanSplit : public ::testing::TestWithParam<const char*> {};

TEST_P(VulkanSplit, everyNumberOfLayersMatchesTheExactForwardPass) {
  const test::GoldenModel golden = test::golden_model(std::string("models/") + GetParam());
  const auto cpu = test::load_engine(golden.path, options({}));
  for (uint32_t layers = 0; layers <= cpu->model().config.layers + 1; ++layers) {
    SCOPED_TRACE(layers);
    expect_exact(golden, {.devices = {"vulkan:0"}, .layers = layers, .rules = {}});
  }
}

INSTANTIATE_TEST_SUITE_P(Families, VulkanSplit,
                         ::testing::Values("gemma2", "gemma3", "gpt-oss", "gpt2", "granite",
                                           "llama", "llama-linear-rope", "llama-moe", "llama-yarn",
                                           "llama3-rope", "olmo2", "phi3", "qwen2", "qwen3",
                                           "qwen3moe", "smollm3", "starcoder2"));

TEST(VulkanDevices, twoDevicesAndTheCpuTakeTurns) {
  const test::GoldenModel golden = test::golden_model("models/qwen2");
  expect_exact(golden, {.devices = {"vulkan:0", "vulkan:0"}, .layers = 1000, .rules = {}});
  expect_exact(golden, {.devices = {"vulkan:0"}, .layers = 1000, .rules = {{"ffn_down", "cpu"}}});
}

}  // namespace
}  // namespace quern::engine
