// The same answers on a device as on the CPU.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/golden_model.h"

namespace quern::engine {
namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kTokens = 20;  // as many steps as it takes to touch all memory
#else
constexpr size_t kTokens = 200;
#endif
constexpr float kTie = 1e-3f;  // logits closer than this may come in either order

int32_t largest(std::span<const float> logits) {
  return static_cast<int32_t>(std::ranges::max_element(logits) - logits.begin());
}

TEST(VulkanGreedy, twoHundredTokensOfFivePromptsEqualTheCpus) {
  const auto path = test::shared_golden("../models/quern-tiny-stories-f16.gguf");
  if (!path) GTEST_SKIP() << "the f16 form is not here";
  EngineOptions options{.threads = 2, .context = 512, .cache = kernels::CacheType::kF32};
  const auto cpu = test::load_engine(*path, options);
  options.placement = {.devices = {"vulkan:0"}, .rules = {}, .strict = true};
  const auto device = test::load_engine(*path, options);
  std::ifstream file(test::own_golden("greedy.json"));
  const auto golden = nlohmann::json::parse(file);
  ASSERT_GE(golden["cases"].size(), 5u);
  for (size_t prompt = 0; prompt < 5; ++prompt) {
    SCOPED_TRACE(prompt);
    auto tokens = golden["cases"][prompt]["prompt_ids"].get<std::vector<int32_t>>();
    Sequence expected = cpu->new_sequence(), found = device->new_sequence();
    for (size_t i = 0; i < kTokens; ++i) {
      const CancelToken never{false};
      const auto step = [&](Engine& engine, Sequence& sequence) {
        std::vector<Row> rows;
        for (size_t k = sequence.length(); k < tokens.size(); ++k) {
          rows.push_back({&sequence, tokens[k], k + 1 == tokens.size()});
        }
        const auto logits = engine.step(rows, never);
        EXPECT_TRUE(logits) << logits.error().to_string();
        return logits ? std::vector<float>(logits->begin(), logits->end()) : std::vector<float>(1);
      };
      const std::vector<float> own = step(*cpu, expected), other = step(*device, found);
      const int32_t next = largest(own), differing = largest(other);
      if (next != differing) {
        EXPECT_LT(own[static_cast<size_t>(next)] - own[static_cast<size_t>(differing)], kTie)
            << "token " << i;
        break;  // from here on the texts differ
      }
      tokens.push_back(next);
    }
  }
}

}  // namespace
}  // namespace quern::engine
