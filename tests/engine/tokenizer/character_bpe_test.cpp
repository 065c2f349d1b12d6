// BPE over characters: a vocabulary of our own, and the ids that an established runtime (llama.cpp)
// gives with it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "engine/tokenizer/tokenizer.h"
#include "tests/engine/tokenizer/small_vocabulary.h"

namespace quern::engine {
namespace {

using gguf::Writer;
using test::tokenizer_of;
using testing::ElementsAre;
using testing::HasSubstr;

using Ids = std::vector<int32_t>;

// Ids: 0 to 3 special, 4 to 259 bytes, then the texts below. Two merges lead to texts that are no
// tokens ("xy", "xo"); "hello" is a token that no merge leads to.
Writer writer_of(const std::string& model, const std::string& pre) {
  std::vector<test::TokenRow> rows = {
      {"<pad>", 0, 3}, {"<eos>", 0, 3}, {"<bos>", 0, 3}, {"<unk>", 0, 3}};
  const char* digits = "0123456789ABCDEF";
  for (unsigned byte = 0; byte < 256; ++byte) {
    rows.push_back({std::string("<0x") + digits[byte / 16] + digits[byte % 16] + ">", 0, 6});
  }
  for (const char* text :
       {"a",  "b",     "c", "▁", "ab",  "▁a", "ab▁", "\n", "\n\n", "\n\n\n\n", "é",
        "éa", "hello", "[", " ", "hel", "he", "l",   "h",  "e",    "o",        "abab"}) {
    rows.push_back({text, 0, 1});
  }
  rows.push_back({"<turn|>", 0, 3});
  Writer writer;
  writer.set("tokenizer.ggml.model", Writer::Scalar(model));
  if (!pre.empty()) writer.set("tokenizer.ggml.pre", Writer::Scalar(pre));
  test::set_tokens(writer, rows);
  writer.set("tokenizer.ggml.merges",
             Writer::Array(std::vector<std::string>{"a b", "▁ a", "ab ▁", "é a", "h e", "he l",
                                                    "ab ab", "x y", "\n \n", "hel xo"}));
  writer.set("tokenizer.ggml.bos_token_id", Writer::Scalar(uint32_t{2}));
  writer.set("tokenizer.ggml.eos_token_id", Writer::Scalar(uint32_t{1}));
  return writer;
}

struct Case {
  std::string text;
  Ids ids;
};

void expect_ids(const Tokenizer& tokenizer, const std::vector<Case>& cases) {
  for (const Case& c : cases) {
    EXPECT_EQ(tokenizer.encode(c.text, false, false), c.ids) << escape(c.text);
  }
}

TEST(CharacterBpe, givesTheIdsOfTheReference) {
  const std::vector<Case> cases = {
      {"ab ab", {266, 264}},
      {"a\n\nb", {260, 268, 261}},
      {"\n\n\n", {268, 267}},
      {"\n\n\n\n", {269}},
      {" a", {265}},
      {"éa", {271}},
      {"日a", {234, 155, 169, 260}},
      {"hello", {275, 277, 280}},
      {"hel lo", {275, 263, 277, 280}},
      {"xy", {124, 125}},
      {"a\xFF"
       "b",
       {260, 243, 195, 193, 261}},
      {"a\xE2\x82", {260, 243, 195, 193, 243, 195, 193}},
      {" ab  ab", {263, 266, 263, 264}},
      {"abab\n", {281, 267}},
      {"", {}},
      {"▁a", {265}},
      {"a\n b", {260, 267, 263, 261}},
      {"hello zz hello", {275, 277, 280, 263, 126, 126, 263, 275, 277, 280}},
      {"hello\thello", {275, 277, 280, 13, 275, 277, 280}}};
  expect_ids(tokenizer_of(writer_of("gemma4", "")), cases);
  for (const char* pre : {"gemma4", "granite-embed-multi-311m"}) {
    expect_ids(tokenizer_of(writer_of("gpt2", pre)), cases);
  }
}

TEST(CharacterBpe, sarvamMergesLineEnds) {
  expect_ids(tokenizer_of(writer_of("gpt2", "sarvam-moe")),
             {{" ab  ab", {263, 266, 263, 264}}, {"a\n\n\n\nb", {260, 268, 268, 261}}});
}

TEST(CharacterBpe, whitespaceKeepsSpacesAndMergesLineEnds) {
  const Tokenizer tokenizer = tokenizer_of(writer_of("gpt2", "whitespace"));
  expect_ids(tokenizer, {{"ab ab", {264, 274, 264}},
                         {" a", {274, 260}},
                         {"\n\n\n\n", {268, 268}},
                         {"日a", {234, 155, 169, 260}},
                         {"hello zz", {275, 277, 280, 274, 126, 126}},
                         {"ab\tc", {264, 13, 262}}});
  EXPECT_EQ(tokenizer.piece(265), "▁a");
}

// Gemma 4 files in the wild say that no bos is wanted; without one the model answers nonsense.
TEST(CharacterBpe, gemma4BeginsWithBosWhateverTheFileSays) {
  for (const auto& [model, pre, forced] : {std::tuple{"gemma4", "", true},
                                           {"gpt2", "gemma4", true},
                                           {"gpt2", "granite-embed-multi-311m", true},
                                           {"gpt2", "sarvam-moe", false},
                                           {"gpt2", "whitespace", false}}) {
    Writer writer = writer_of(model, pre);
    writer.set("tokenizer.ggml.add_bos_token", Writer::Scalar(false));
    const Tokenizer tokenizer = tokenizer_of(writer);
    EXPECT_EQ(tokenizer.encode("a", true, false), forced ? (Ids{2, 260}) : Ids{260}) << pre;
    EXPECT_EQ(tokenizer.encode_rendered("<bos>a"), (Ids{2, 260})) << pre;
  }
}

TEST(CharacterBpe, gemma4HasNoDefaultIds) {
  Writer writer;
  writer.set("tokenizer.ggml.model", Writer::Scalar(std::string("gemma4")));
  test::set_tokens(writer, std::vector<test::TokenRow>(20, {"a", 0, 1}));
  writer.set("tokenizer.ggml.merges", Writer::Array(std::vector<std::string>{"a a"}));
  const Tokenizer tokenizer = tokenizer_of(writer);
  EXPECT_EQ(tokenizer.bos(), std::nullopt);
  EXPECT_EQ(tokenizer.eos(), std::nullopt);
  EXPECT_THAT(tokenizer.encode("a", true, false), ElementsAre(19));
}

TEST(CharacterBpe, charactersWithoutTokenAndBytesAreLost) {
  Writer writer = writer_of("gemma4", "");
  test::set_tokens(writer, {{"a", 0, 1}, {"b", 0, 1}, {"<bos>", 0, 3}});
  EXPECT_THAT(tokenizer_of(writer).encode("a日b", false, false), ElementsAre(0, 1));
}

TEST(CharacterBpe, decodesWhatItEncodes) {
  const Tokenizer tokenizer = tokenizer_of(writer_of("gemma4", ""));
  std::mt19937 random(11);  // fixed seed
  for (int round = 0; round < 500; ++round) {
    std::string text;
    for (unsigned n = random() % 20; n > 0; --n) {
      constexpr std::string_view kParts[] = {"ab", " ", "\n", "\n\n\n", "hello", "é",
                                             "日", "😀", "\t", "xy",     "a",     "<eos>"};
      text += kParts[random() % std::size(kParts)];
    }
    ASSERT_EQ(tokenizer.decode(tokenizer.encode(text, true, false)), text) << escape(text, 400);
  }
}

TEST(CharacterBpe, theTurnMarkerEndsGeneration) {
  const Tokenizer tokenizer = tokenizer_of(writer_of("gemma4", ""));
  EXPECT_TRUE(tokenizer.is_end_of_generation(*tokenizer.find("<turn|>")));
}

// Merging in quadratic time would need minutes: a line is one piece.
TEST(CharacterBpe, longLinesTakeLinearTime) {
  const Tokenizer tokenizer = tokenizer_of(writer_of("gemma4", ""));
  for (const std::string_view unit : {"a", "ab ", "\n", "日", "\xFF"}) {
    std::string text;
    while (text.size() < 150'000) text += unit;
    EXPECT_FALSE(tokenizer.encode(text, true, true).empty());
  }
}

TEST(CharacterBpe, refusesMalformedMerges) {
  Writer writer = writer_of("gemma4", "");
  writer.set("tokenizer.ggml.merges", Writer::Array(std::vector<std::string>{"a b", "ab"}));
  const auto tokenizer = test::read_written<Tokenizer>(writer);
  ASSERT_FALSE(tokenizer);
  EXPECT_EQ(tokenizer.error().code, "tokenizer-merges");
  EXPECT_THAT(tokenizer.error().message, HasSubstr("merge 1"));
}

}  // namespace
}  // namespace quern::engine
