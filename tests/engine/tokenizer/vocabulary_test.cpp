#include "engine/tokenizer/vocabulary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "tests/engine/tokenizer/small_vocabulary.h"

namespace quern::engine {
namespace {

using gguf::Writer;
using test::TokenRow;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

Result<Vocabulary> read(const Writer& writer) { return test::read_written<Vocabulary>(writer); }
Vocabulary vocabulary_of(const Writer& writer) { return test::made_of<Vocabulary>(writer); }

// 20 tokens t0 ... t19, then `rows`.
Writer writer_with(const std::string& model, const std::vector<TokenRow>& rows = {}) {
  std::vector<TokenRow> all;
  for (int i = 0; i < 20; ++i) all.push_back({"t" + std::to_string(i), 0, 1});
  all.insert(all.end(), rows.begin(), rows.end());
  Writer writer;
  writer.set("tokenizer.ggml.model", Writer::Scalar(model));
  writer.set("tokenizer.ggml.pre", Writer::Scalar(std::string("gpt-2")));
  test::set_tokens(writer, all);
  return writer;
}

std::vector<std::string> end_of_generation(const Vocabulary& vocabulary) {
  std::vector<std::string> texts;
  for (int32_t id = 0; vocabulary.contains(id); ++id) {
    if (vocabulary[id].ends_generation) texts.push_back(vocabulary[id].text);
  }
  return texts;
}

TEST(Vocabulary, hasNoTokensWithoutATokenizer) {
  for (const char* model : {"no_vocab", "none"}) {
    Writer writer;
    writer.set("tokenizer.ggml.model", Writer::Scalar(std::string(model)));
    const Vocabulary vocabulary = vocabulary_of(writer);
    EXPECT_EQ(vocabulary.model(), TokenizerModel::kNone);
    EXPECT_EQ(vocabulary.size(), 0U);
    EXPECT_FALSE(vocabulary.special(Role::kBos));
  }
  Writer without_key;
  without_key.set("general.name", Writer::Scalar(std::string("x")));
  EXPECT_EQ(vocabulary_of(without_key).model(), TokenizerModel::kNone);
}

TEST(Vocabulary, refusesOtherAlgorithmsInWords) {
  for (const char* model : {"bert", "t5", "rwkv", "plamo2", "\x1b[31m"}) {
    const auto result = read(writer_with(model));
    ASSERT_FALSE(result) << model;
    EXPECT_EQ(result.error().kind, ErrorKind::kUnsupported);
    EXPECT_EQ(result.error().code, "tokenizer-model");
    EXPECT_THAT(result.error().message, Not(HasSubstr("\x1b")));
  }
}

TEST(Vocabulary, takesDefaultsFromTheAlgorithm) {
  const Vocabulary llama = vocabulary_of(writer_with("llama"));
  EXPECT_EQ(llama.special(Role::kBos), 1);
  EXPECT_EQ(llama.special(Role::kEos), 2);
  EXPECT_EQ(llama.special(Role::kUnknown), 0);
  EXPECT_TRUE(llama.add_bos());
  EXPECT_FALSE(llama.add_eos());
  EXPECT_TRUE(llama.add_space_prefix());

  const Vocabulary gpt2 = vocabulary_of(writer_with("gpt2"));
  EXPECT_EQ(gpt2.special(Role::kBos), 11);
  EXPECT_EQ(gpt2.special(Role::kEos), 11);
  EXPECT_EQ(gpt2.special(Role::kUnknown), std::nullopt);
  EXPECT_FALSE(gpt2.add_bos());
  EXPECT_FALSE(gpt2.add_space_prefix());
}

TEST(Vocabulary, defaultsDependOnThePretokenizer) {
  Writer llama3 = writer_with("gpt2");
  llama3.set("tokenizer.ggml.pre", Writer::Scalar(std::string("llama-bpe")));
  EXPECT_TRUE(vocabulary_of(llama3).add_bos());

  Writer glm4 = writer_with("gpt2");
  glm4.set("tokenizer.ggml.pre", Writer::Scalar(std::string("glm4")));
  EXPECT_EQ(vocabulary_of(glm4).special(Role::kBos), std::nullopt);
}

TEST(Vocabulary, defaultIdsOutsideTheVocabularyAreNone) {
  Writer writer;
  writer.set("tokenizer.ggml.model", Writer::Scalar(std::string("llama")));
  test::set_tokens(writer, {{"a", 0, 1}});
  const Vocabulary vocabulary = vocabulary_of(writer);
  EXPECT_EQ(vocabulary.special(Role::kBos), std::nullopt);
  EXPECT_EQ(vocabulary.special(Role::kEos), std::nullopt);
  EXPECT_EQ(vocabulary.special(Role::kUnknown), 0);
  EXPECT_FALSE(vocabulary.add_bos());  // there is nothing to add
}

TEST(Vocabulary, keysOverrideDefaults) {
  Writer writer = writer_with("llama");
  writer.set("tokenizer.ggml.bos_token_id", Writer::Scalar(uint32_t{7}));
  writer.set("tokenizer.ggml.eos_token_id", Writer::Scalar(int64_t{8}));
  writer.set("tokenizer.ggml.prefix_token_id", Writer::Scalar(uint32_t{9}));
  writer.set("tokenizer.ggml.add_bos_token", Writer::Scalar(false));
  writer.set("tokenizer.ggml.add_eos_token", Writer::Scalar(true));
  writer.set("tokenizer.ggml.add_space_prefix", Writer::Scalar(false));
  const Vocabulary vocabulary = vocabulary_of(writer);
  EXPECT_EQ(vocabulary.special(Role::kBos), 7);
  EXPECT_EQ(vocabulary.special(Role::kEos), 8);
  EXPECT_EQ(vocabulary.special(Role::kFimPrefix), 9);
  EXPECT_FALSE(vocabulary.add_bos());
  EXPECT_TRUE(vocabulary.add_eos());
  EXPECT_FALSE(vocabulary.add_space_prefix());
  EXPECT_THAT(vocabulary.warnings(), IsEmpty());
}

TEST(Vocabulary, specialIdsOutsideTheVocabularyAreIgnoredWithAWarning) {
  for (const Writer::Scalar& id : {Writer::Scalar(uint32_t{20}), Writer::Scalar(int32_t{-1}),
                                   Writer::Scalar(UINT64_MAX), Writer::Scalar(uint64_t{1} << 32)}) {
    Writer writer = writer_with("llama");
    writer.set("tokenizer.ggml.bos_token_id", id);
    const Vocabulary vocabulary = vocabulary_of(writer);
    EXPECT_EQ(vocabulary.special(Role::kBos), 1);
    EXPECT_THAT(vocabulary.warnings(), ElementsAre(HasSubstr("tokenizer.ggml.bos_token_id")));
  }
}

TEST(Vocabulary, unknownPretokenizerFallsBackWithAWarning) {
  Writer writer = writer_with("gpt2");
  writer.set("tokenizer.ggml.pre", Writer::Scalar(std::string("brand-new")));
  const Vocabulary vocabulary = vocabulary_of(writer);
  EXPECT_EQ(vocabulary.pretokenizer(), "dbrx");
  EXPECT_THAT(vocabulary.warnings(), ElementsAre(HasSubstr("\"brand-new\"")));

  writer.set("tokenizer.ggml.pre", Writer::Scalar(std::string()));
  EXPECT_EQ(vocabulary_of(writer).pretokenizer(), "default");
  EXPECT_EQ(vocabulary_of(writer).warnings().size(), 1U);
}

TEST(Vocabulary, detectsTurnAndInfillTokensByText) {
  const Vocabulary vocabulary = vocabulary_of(writer_with("gpt2", {{"<|im_end|>", 0, 3},       // 20
                                                                   {"<|eom_id|>", 0, 3},       // 21
                                                                   {"<｜fim▁begin｜>", 0, 4},  // 22
                                                                   {"<SUF>", 0, 1},            // 23
                                                                   {"<fim-middle>", 0, 3},     // 24
                                                                   {"<|file_sep|>", 0, 3}}));  // 25
  EXPECT_EQ(vocabulary.special(Role::kEot), 20);
  EXPECT_EQ(vocabulary.special(Role::kEom), 21);
  EXPECT_EQ(vocabulary.special(Role::kFimPrefix), 22);
  EXPECT_EQ(vocabulary.special(Role::kFimSuffix), 23);
  EXPECT_EQ(vocabulary.special(Role::kFimMiddle), 24);
  EXPECT_EQ(vocabulary.special(Role::kFimSeparator), 25);
  EXPECT_EQ(vocabulary.special(Role::kFimPad), std::nullopt);
  EXPECT_EQ(vocabulary[22].type, TokenType::kControl);
  EXPECT_EQ(vocabulary[23].type, TokenType::kControl);
  EXPECT_THAT(end_of_generation(vocabulary),
              ElementsAre("t11", "<|im_end|>", "<|eom_id|>", "<|file_sep|>"));
}

TEST(Vocabulary, aKeyIsStrongerThanATextForTheEndOfTurn) {
  Writer writer = writer_with("gpt2", {{"<|im_end|>", 0, 1}});
  writer.set("tokenizer.ggml.eot_token_id", Writer::Scalar(uint32_t{5}));
  const Vocabulary vocabulary = vocabulary_of(writer);
  EXPECT_EQ(vocabulary.special(Role::kEot), 5);
  EXPECT_EQ(vocabulary[20].type, TokenType::kControl);
  EXPECT_THAT(end_of_generation(vocabulary), ElementsAre("t5", "t11", "<|im_end|>"));
}

TEST(Vocabulary, channelEndsDoNotEndGenerationWhereReturnAndCallDo) {
  const Vocabulary vocabulary = vocabulary_of(writer_with(
      "gpt2",
      {{"<|end|>", 0, 3}, {"<|return|>", 0, 3}, {"<|call|>", 0, 3}, {"<|channel|>", 0, 3}}));
  EXPECT_THAT(end_of_generation(vocabulary), ElementsAre("t11", "<|return|>", "<|call|>"));
  EXPECT_EQ(vocabulary[20].type, TokenType::kUserDefined);
  EXPECT_EQ(vocabulary[23].type, TokenType::kUserDefined);

  EXPECT_THAT(end_of_generation(vocabulary_of(writer_with(
                  "gpt2", {{"<|end|>", 0, 3}, {"<|calls|>", 0, 3}, {"<|flush|>", 0, 3}}))),
              ElementsAre("t11", "<|calls|>", "<|flush|>"));
  EXPECT_THAT(end_of_generation(
                  vocabulary_of(writer_with("gpt2", {{"<|end|>", 0, 3}, {"<|return|>", 0, 3}}))),
              ElementsAre("t11", "<|end|>", "<|return|>"));
}

TEST(Vocabulary, sentenceEndDoesNotEndGenerationBesideToolResponse) {
  EXPECT_THAT(end_of_generation(
                  vocabulary_of(writer_with("gpt2", {{"</s>", 0, 3}, {"<|tool_response>", 0, 3}}))),
              ElementsAre("t11", "<|tool_response>"));
}

TEST(Vocabulary, emptyTextsGetAName) {
  const Vocabulary vocabulary = vocabulary_of(writer_with("gpt2", {{"", 0, 1}}));
  EXPECT_EQ(vocabulary[20].text, "[EMPTY_20]");
  EXPECT_EQ(vocabulary.find("[EMPTY_20]"), 20);
  EXPECT_EQ(vocabulary.find(""), std::nullopt);
}

TEST(Vocabulary, theLastOfEqualTextsIsFound) {
  const Vocabulary vocabulary = vocabulary_of(writer_with("gpt2", {{"t3", 0, 1}}));
  EXPECT_EQ(vocabulary.find("t3"), 20);
  EXPECT_EQ(vocabulary.find("t4"), 4);
}

TEST(Vocabulary, typesThatAreNotKnownAreNeverShown) {
  const Vocabulary vocabulary = vocabulary_of(writer_with("gpt2", {{"x", 0, 7}, {"y", 0, -1}}));
  EXPECT_EQ(vocabulary[20].type, TokenType::kUndefined);
  EXPECT_EQ(vocabulary[21].type, TokenType::kUndefined);
  EXPECT_THAT(vocabulary.warnings(), ElementsAre(HasSubstr("2 tokens")));
}

TEST(Vocabulary, phi3TokensSwallowTheSpaceAfterThem) {
  Writer writer = writer_with("llama", {{"<|user|>", 0, 3}, {"<s>", 0, 3}});
  EXPECT_FALSE(vocabulary_of(writer)[20].strip_right);
  writer.set("general.name", Writer::Scalar(std::string("My Phi-3 mini")));
  EXPECT_TRUE(vocabulary_of(writer)[20].strip_right);
  EXPECT_FALSE(vocabulary_of(writer)[21].strip_right);
}

// Each malformed file: which key, what it holds, and the code of the one-line error.
struct Malformed {
  const char* key;
  std::variant<Writer::Scalar, Writer::Array> value;
  const char* code;
};

TEST(Vocabulary, refusesMalformedKeysInOneLine) {
  const std::vector<float> few_scores(19), nan_scores(20, NAN);
  const std::vector<int32_t> few_types(19, 1), many_types(21, 1);
  const std::vector<Malformed> cases = {
      {"tokenizer.ggml.model", Writer::Scalar(uint32_t{3}), "tokenizer-model"},
      {"tokenizer.ggml.tokens", Writer::Scalar(std::string("a")), "tokenizer-tokens"},
      {"tokenizer.ggml.tokens", Writer::Array(std::vector<int32_t>{1, 2}), "tokenizer-tokens"},
      {"tokenizer.ggml.tokens", Writer::Array(std::vector<std::string>{}), "tokenizer-tokens"},
      {"tokenizer.ggml.scores", Writer::Array(few_scores), "tokenizer-scores"},
      {"tokenizer.ggml.scores", Writer::Array(nan_scores), "tokenizer-scores"},
      {"tokenizer.ggml.scores", Writer::Array(std::vector<std::string>(20, "x")),
       "tokenizer-scores"},
      {"tokenizer.ggml.scores", Writer::Scalar(1.0F), "tokenizer-scores"},
      {"tokenizer.ggml.token_type", Writer::Array(few_types), "tokenizer-types"},
      {"tokenizer.ggml.token_type", Writer::Array(many_types), "tokenizer-types"},
      {"tokenizer.ggml.token_type", Writer::Array(std::vector<float>(20)), "tokenizer-types"},
      {"tokenizer.ggml.bos_token_id", Writer::Scalar(std::string("1")), "tokenizer-key"},
      {"tokenizer.ggml.eos_token_id", Writer::Scalar(1.0F), "tokenizer-key"},
      {"tokenizer.ggml.padding_token_id", Writer::Array(few_types), "tokenizer-key"},
      {"tokenizer.ggml.add_bos_token", Writer::Scalar(uint32_t{1}), "tokenizer-key"},
      {"tokenizer.ggml.add_space_prefix", Writer::Scalar(std::string("yes")), "tokenizer-key"},
  };
  for (const Malformed& c : cases) {
    Writer writer = writer_with("llama");
    std::visit([&](const auto& value) { writer.set(c.key, value); }, c.value);
    const auto result = read(writer);
    ASSERT_FALSE(result) << c.key;
    EXPECT_EQ(result.error().code, c.code);
    EXPECT_EQ(result.error().field, c.key);
    EXPECT_FALSE(result.error().path.empty());
    EXPECT_THAT(result.error().to_string(), Not(HasSubstr("\n")));
  }
}

TEST(Vocabulary, acceptsIntegerScoresAndHugeOnes) {
  Writer writer = writer_with("llama");
  writer.set("tokenizer.ggml.scores", Writer::Array(std::vector<int32_t>(20, -5)));
  EXPECT_EQ(vocabulary_of(writer)[3].score, -5);
  writer.set("tokenizer.ggml.scores", Writer::Array(std::vector<float>(20, INFINITY)));
  EXPECT_TRUE(std::isfinite(vocabulary_of(writer)[3].score));
}

}  // namespace
}  // namespace quern::engine
