// Models with sliding windows, and the check that a cache which keeps only the windows gives the
// logits of one that keeps everything.
#pragma once

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "tests/golden_model.h"

namespace quern::test {

inline constexpr uint32_t kWindowContext = 192;  // 24 windows of 8
inline constexpr uint32_t kWindowChunk = 48;

inline auto window_models() {
  return ::testing::Values("models/gemma2", "models/gemma3", "models/gpt-oss", "families/cohere2",
                           "families/olmo3", "families/gemma4", "families/gemma4-inputs");
}

inline std::string window_model_name(const ::testing::TestParamInfo<const char*>& info) {
  std::string name = info.param;
  for (char& c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  }
  return name;
}

// An engine that keeps the window and `step` positions more: no sequence gives anything back where
// a step can have as many rows as the context.
inline std::unique_ptr<engine::Engine> window_engine(const char* model, uint32_t step,
                                                     engine::Placement placement = {}) {
  return load_engine(own_golden(std::string(model) + ".gguf"), {.threads = 1,
                                                                .context = kWindowContext,
                                                                .cache = kernels::CacheType::kF32,
                                                                .batch_rows = step,
                                                                .logit_rows = step,
                                                                .sequences = 2,
                                                                .placement = std::move(placement)});
}

inline std::vector<int32_t> window_tokens(const engine::Engine& engine) {
  std::mt19937 random(7);
  std::vector<int32_t> tokens(kWindowContext - 12);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % engine.vocabulary());
  return tokens;
}

// All logits, those after taking back a few tokens, and all but one, in a fork too: to the bit.
inline void expect_logits_of_full_cache(const char* model, size_t chunk,
                                        const engine::Placement& placement = {}) {
  const auto full = window_engine(model, kWindowContext, placement);
  const auto engine = window_engine(model, kWindowChunk, placement);
  const std::vector<int32_t> tokens = window_tokens(*full);
  engine::Sequence kept = full->new_sequence(), sequence = engine->new_sequence();
  const std::vector<float> expected = run(*full, kept, tokens, chunk);
  ASSERT_EQ(run(*engine, sequence, tokens, chunk), expected);
  const auto tail = [&](std::vector<float> logits, size_t rows) {
    const auto floats = static_cast<ptrdiff_t>(rows * engine->vocabulary());
    return std::vector<float>(logits.end() - floats, logits.end());
  };
  const auto length = static_cast<uint32_t>(tokens.size());
  for (const uint32_t back : {20u, length - 1}) {
    sequence.rewind(length - back);
    EXPECT_EQ(sequence.length(), back == 20 ? length - 20 : 0u);
    engine::Sequence fork = sequence.fork();
    EXPECT_EQ(tail(run(*engine, fork, tokens, chunk), 20), tail(expected, 20));
    EXPECT_EQ(tail(run(*engine, sequence, tokens, chunk), 20), tail(expected, 20));
  }
}

}  // namespace quern::test
