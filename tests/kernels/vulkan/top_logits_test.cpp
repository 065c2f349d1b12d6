// Sampling on the device: equal tokens, and few bytes to read.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "engine/session.h"
#include "kernels/vulkan.h"
#include "tests/golden_model.h"

namespace quern::engine {
namespace {

constexpr size_t kPrompts = 2, kTokens = 40;  // more are compared with the CPU in greedy_test

// Answers to prompts of the golden list, and the bytes that were read back for their tokens.
struct Answers {
  std::vector<std::vector<int32_t>> tokens;
  uint64_t bytes = 0;
};

Answers answer(Engine& engine, const SamplerOptions& sampling) {
  std::ifstream file(test::own_golden("greedy.json"));
  const auto golden = nlohmann::json::parse(file);
  const CancelToken never{false};
  Answers answers;
  for (size_t prompt = 0; prompt < kPrompts; ++prompt) {
    Session session(engine, Sampler(sampling), engine.vocabulary());
    const auto ids = golden["cases"][prompt]["prompt_ids"].get<std::vector<int32_t>>();
    EXPECT_TRUE(session.prefill(ids, never));
    const uint64_t before = kernels::vulkan_usage(0)->read;
    for (size_t i = 0; i < kTokens; ++i) EXPECT_TRUE(session.decode(never));
    answers.bytes += kernels::vulkan_usage(0)->read - before;
    answers.tokens.emplace_back(session.tokens().begin(), session.tokens().end());
  }
  return answers;
}

TEST(VulkanTopLogits, answersEqualTheHostsSampler) {
  const auto path = test::shared_golden("../models/quern-tiny-stories-f16.gguf");
  if (!path) GTEST_SKIP() << "the f16 form is not here";
  EngineOptions options{.threads = 2, .context = 512, .cache = kernels::CacheType::kF32};
  options.placement = {.devices = {"vulkan:0"}, .rules = {}, .strict = true};
  const auto engine = test::load_engine(*path, options);
  // The first token comes from the prompt, whose logits were counted before.
  const uint64_t steps = kPrompts * (kTokens - 1);
  for (const SamplerOptions& sampling :
       {SamplerOptions{.temperature = 0}, SamplerOptions{.top_k = 40, .seed = 7}}) {
    SCOPED_TRACE(sampling.temperature);
    SamplerOptions hosts = sampling;
    hosts.logit_bias[0] = 0;  // changes nothing, but the host must add it
    const Answers expected = answer(*engine, hosts), found = answer(*engine, sampling);
    EXPECT_EQ(found.tokens, expected.tokens);
    const uint64_t best = sampling.temperature == 0 ? 1 : 40;
    EXPECT_EQ(expected.bytes, steps * engine->vocabulary() * sizeof(float));
    EXPECT_EQ(found.bytes, steps * best * sizeof(kernels::TopLogit));
  }
}

// A sampler that changes its mind gets what it needs.
TEST(VulkanTopLogits, areComputedAgainWhenAllAreWanted) {
  EngineOptions options{.threads = 1, .context = 64, .cache = kernels::CacheType::kF32};
  options.placement = {.devices = {"vulkan:0"}, .rules = {}, .strict = true};
  const auto engine = test::load_engine(test::own_golden("models/llama.gguf"), options);
  const CancelToken never{false};
  const std::vector<int32_t> prompt = {1, 20, 33, 4};
  SamplerOptions banned{.temperature = 0};
  Session session(*engine, Sampler(banned), engine->vocabulary());
  ASSERT_TRUE(session.prefill(prompt, never));
  Session other = session.fork();
  const int32_t best = *session.decode(never);
  banned.logit_bias[best] = -std::numeric_limits<float>::infinity();
  ASSERT_TRUE(other.sampler().set_options(banned));
  EXPECT_NE(*other.decode(never), best);
}

}  // namespace
}  // namespace quern::engine
