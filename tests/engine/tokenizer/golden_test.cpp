// Real vocabularies against the ids of an established runtime (data beside the checkout; skipped
// where it is absent), and the bundled model, which is always there.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/tokenizer/tokenizer.h"
#include "tests/golden_path.h"

namespace quern::engine {
namespace {

using Ids = std::vector<int32_t>;

Tokenizer open_tokenizer(const std::string& path) {
  auto file = gguf::File::open(path);
  if (!file) throw std::runtime_error(file.error().to_string());
  auto tokenizer = Tokenizer::from_file(*file);
  if (!tokenizer) throw std::runtime_error(tokenizer.error().to_string());
  return std::move(*tokenizer);
}

struct Case {
  std::string text;
  Ids ids, ids_special;
};

// The golden cases of each vocabulary; empty if the data is absent.
const std::map<std::string, std::vector<Case>>& golden_cases() {
  static const auto cases = [] {
    std::map<std::string, std::vector<Case>> out;
    const auto path = test::shared_golden("tokens.jsonl");
    if (!path) return out;
    std::ifstream in(*path);
    for (std::string line; std::getline(in, line);) {
      const auto json = nlohmann::json::parse(line);
      out[json["vocab"]].push_back({json["text"], json["ids"], json["ids_special"]});
    }
    return out;
  }();
  return cases;
}

class GoldenVocabulary : public testing::TestWithParam<const char*> {};

TEST_P(GoldenVocabulary, givesTheIdsOfTheReference) {
  const auto path = test::shared_golden(std::string("vocab/") + GetParam() + ".gguf");
  if (!path) GTEST_SKIP() << "golden vocabularies are not here";
  const Tokenizer tokenizer = open_tokenizer(*path);
  const auto& cases = golden_cases().at(GetParam());
  ASSERT_GE(cases.size(), 141U);
  for (const Case& c : cases) {
    EXPECT_EQ(tokenizer.encode(c.text, false, false), c.ids) << escape(c.text, 400);
    EXPECT_EQ(tokenizer.encode(c.text, true, true), c.ids_special) << escape(c.text, 400);
  }
}

INSTANTIATE_TEST_SUITE_P(All, GoldenVocabulary,
                         testing::Values("llama-spm", "phi-3", "gemma3", "llama-bpe", "qwen2",
                                         "gpt-2", "mpt", "starcoder", "refact", "falcon",
                                         "deepseek-llm", "deepseek-coder", "deepseek-v3",
                                         "gpt-4o"));

TEST(GoldenVocabularies, wordPieceIsRefusedInWords) {
  const auto path = test::shared_golden("vocab/bert-bge.gguf");
  if (!path) GTEST_SKIP() << "golden vocabularies are not here";
  auto file = gguf::File::open(*path);
  ASSERT_TRUE(file);
  const auto tokenizer = Tokenizer::from_file(*file);
  ASSERT_FALSE(tokenizer);
  EXPECT_EQ(tokenizer.error().kind, ErrorKind::kUnsupported);
  EXPECT_EQ(tokenizer.error().code, "tokenizer-model");
  EXPECT_THAT(tokenizer.error().message, testing::HasSubstr("\"bert\""));
}

}  // namespace
}  // namespace quern::engine
