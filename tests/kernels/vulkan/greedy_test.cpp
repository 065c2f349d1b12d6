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

// Texts that two engines continue, all of them by one token with each step.
class Race {
 public:
  Race(Engine& cpu, Engine& device, std::vector<std::vector<int32_t>> texts)
      : cpu_(cpu), device_(device), texts_(std::move(texts)) {
    for (size_t i = 0; i < texts_.size(); ++i) {
      expected_.push_back(cpu.new_sequence());
      found_.push_back(device.new_sequence());
    }
  }

  // Appends the CPU's tokens, and expects the device's to be equal. A text whose tokens differ
  // because two logits are equal but for rounding goes on with the CPU's.
  void step() {
    const std::vector<float> own = logits(cpu_, expected_), other = logits(device_, found_);
    const size_t width = cpu_.vocabulary();
    ASSERT_EQ(own.size(), texts_.size() * width);
    ASSERT_EQ(other.size(), own.size());
    for (size_t i = 0; i < texts_.size(); ++i) {
      const auto row = std::span(own).subspan(i * width, width);
      const int32_t next = largest(row),
                    differing = largest(std::span(other).subspan(i * width, width));
      EXPECT_LE(row[static_cast<size_t>(next)] - row[static_cast<size_t>(differing)],
                next == differing ? 0 : kTie)
          << "text " << i << ", token " << texts_[i].size();
      texts_[i].push_back(next);
    }
  }

 private:
  // Of the last token of each text.
  std::vector<float> logits(Engine& engine, std::vector<Sequence>& sequences) {
    std::vector<Row> rows;
    for (size_t i = 0; i < texts_.size(); ++i) {
      for (size_t k = sequences[i].length(); k < texts_[i].size(); ++k) {
        rows.push_back({&sequences[i], texts_[i][k], k + 1 == texts_[i].size()});
      }
    }
    const CancelToken never{false};
    const auto found = engine.step(rows, never);
    EXPECT_TRUE(found) << found.error().to_string();
    return found ? std::vector<float>(found->begin(), found->end()) : std::vector<float>();
  }

  Engine &cpu_, &device_;
  std::vector<std::vector<int32_t>> texts_;
  std::vector<Sequence> expected_, found_;
};

// One prompt alone, as a person chats; four at once, which takes the time of two.
TEST(VulkanGreedy, twoHundredTokensOfFivePromptsEqualTheCpus) {
  const auto path = test::shared_golden("../models/quern-tiny-stories-f16.gguf");
  if (!path) GTEST_SKIP() << "the f16 form is not here";
  EngineOptions options{.threads = 2,
                        .context = 512,
                        .cache = kernels::CacheType::kF32,
                        .batch_rows = 256,
                        .logit_rows = 4,
                        .sequences = 4};
  const auto cpu = test::load_engine(*path, options);
  options.placement = {.devices = {"vulkan:0"}, .rules = {}, .strict = true};
  const auto device = test::load_engine(*path, options);
  std::ifstream file(test::own_golden("greedy.json"));
  const auto golden = nlohmann::json::parse(file);
  ASSERT_GE(golden["cases"].size(), 5u);
  const auto prompt = [&](size_t i) {
    return golden["cases"][i]["prompt_ids"].get<std::vector<int32_t>>();
  };
  {
    Race alone(*cpu, *device, {prompt(0)});
    for (size_t i = 0; i < kTokens; ++i) ASSERT_NO_FATAL_FAILURE(alone.step()) << i;
  }
  Race together(*cpu, *device, {prompt(1), prompt(2), prompt(3), prompt(4)});
  for (size_t i = 0; i < kTokens; ++i) ASSERT_NO_FATAL_FAILURE(together.step()) << i;
}

}  // namespace
}  // namespace quern::engine
