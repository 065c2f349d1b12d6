// The bundled model: its greedy ids against the reference, and sessions with it. Its answers to the
// questions of its card: tests/tools/run_test.cpp.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/session.h"
#include "engine/tokenizer/tokenizer.h"
#include "tests/golden_path.h"

namespace quern::engine {
namespace {

struct Loaded {
  std::unique_ptr<Engine> engine;
  Tokenizer tokenizer;
};

Loaded load(const std::string& path, kernels::CacheType cache) {
  auto file = gguf::File::open(path);
  EXPECT_TRUE(file) << file.error().to_string();
  auto tokenizer = Tokenizer::from_file(*file);
  EXPECT_TRUE(tokenizer) << tokenizer.error().to_string();
  auto engine = Engine::load(std::move(*file), {.threads = 2, .cache = cache});
  EXPECT_TRUE(engine) << engine.error().to_string();
  return {std::move(*engine), std::move(*tokenizer)};
}

// Up to `count` greedy ids after the prompt; an end-of-generation id is the last.
std::vector<int32_t> greedy(const Loaded& loaded, const std::vector<int32_t>& prompt,
                            size_t count) {
  const CancelToken never{false};
  Session session(*loaded.engine, Sampler({.temperature = 0}),
                  static_cast<uint32_t>(loaded.tokenizer.size()));
  const Status prefilled = session.prefill(prompt, never);
  EXPECT_TRUE(prefilled) << prefilled.error().to_string();
  std::vector<int32_t> ids;
  while (ids.size() < count) {
    const Result<int32_t> token = session.decode(never);
    EXPECT_TRUE(token) << token.error().to_string();
    ids.push_back(*token);
    if (loaded.tokenizer.is_end_of_generation(*token)) break;
  }
  return ids;
}

TEST(BundledModel, f16FormMakesTheReferenceGreedyIds) {
  const auto path = test::shared_golden("../models/quern-tiny-stories-f16.gguf");
  if (!path) GTEST_SKIP() << "the f16 form is not here";
  const Loaded loaded = load(*path, kernels::CacheType::kF32);
  std::ifstream file(test::own_golden("greedy.json"));
  const auto golden = nlohmann::json::parse(file);
  for (const auto& expected : golden["cases"]) {
    SCOPED_TRACE(expected["question"].get<std::string>());
    auto ids = expected["ids"].get<std::vector<int32_t>>();
    ids.resize(expected["sure"].get<size_t>());
    EXPECT_EQ(greedy(loaded, expected["prompt_ids"].get<std::vector<int32_t>>(), ids.size()), ids);
  }
}

TEST(Session, rewindForgetsAndForkGoesItsOwnWay) {
  const Loaded loaded =
      load(std::string(QUERN_SOURCE_DIR) + "/models/quern-tiny-stories-Q4_K_M.gguf",
           kernels::CacheType::kF16);
  const CancelToken never{false};
  const auto prompt = loaded.tokenizer.encode("Once upon a time", true, false);
  Session session(*loaded.engine, Sampler({.seed = 7}),
                  static_cast<uint32_t>(loaded.tokenizer.size()));
  ASSERT_TRUE(session.prefill(prompt, never));
  Session fork = session.fork();
  std::vector<int32_t> first, forked;
  for (int i = 0; i < 30; ++i) first.push_back(session.decode(never).value());
  for (int i = 0; i < 30; ++i) forked.push_back(fork.decode(never).value());
  EXPECT_EQ(first, forked);  // the copy continues the same random numbers

  session.rewind(prompt.size());
  session.sampler().reset();
  std::vector<int32_t> again;
  for (int i = 0; i < 30; ++i) again.push_back(session.decode(never).value());
  EXPECT_EQ(again, first);
}

TEST(Session, cancelledPrefillDropsWhatWasNotComputed) {
  const Loaded loaded =
      load(std::string(QUERN_SOURCE_DIR) + "/models/quern-tiny-stories-Q4_K_M.gguf",
           kernels::CacheType::kF16);
  Session session(*loaded.engine, Sampler({.temperature = 0}), 2048);
  const CancelToken cancelled{true};
  const std::vector<int32_t> tokens = {1, 2, 3};
  const Status status = session.prefill(tokens, cancelled);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().kind, ErrorKind::kCancelled);
  EXPECT_TRUE(session.tokens().empty());
}

}  // namespace
}  // namespace quern::engine
