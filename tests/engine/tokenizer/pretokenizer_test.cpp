// Expected pieces, derived by hand from the patterns of docs/tokenizers.md, and what holds for
// every pre-tokenizer on every text.
#include "engine/tokenizer/pretokenizer.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <string>
#include <vector>

#include "engine/utf8.h"

namespace quern::engine {
namespace {

using Pieces = std::vector<std::string>;

TextSplitter splitter(std::string_view name) {
  const Pretokenizer* row = find_pretokenizer(name);
  EXPECT_NE(row, nullptr) << name;
  auto made = TextSplitter::make(*row);
  EXPECT_TRUE(made) << name << ": " << made.error().to_string();
  return std::move(*made);
}

Pieces split(std::string_view name, std::string_view text) {
  Pieces pieces;
  size_t begin = 0;
  for (const size_t end : splitter(name).split(text)) {
    pieces.emplace_back(text.substr(begin, end - begin));
    begin = end;
  }
  return pieces;
}

TEST(PretokenizerTable, namesAreUniqueAndFound) {
  std::set<std::string_view> names;
  for (const Pretokenizer& row : pretokenizer_table()) {
    std::string_view rest = row.names;
    while (!rest.empty()) {
      const std::string_view name = rest.substr(0, rest.find(' '));
      EXPECT_TRUE(names.insert(name).second) << name;
      EXPECT_EQ(find_pretokenizer(name), &row) << name;
      rest.remove_prefix(std::min(name.size() + 1, rest.size()));
    }
  }
  EXPECT_EQ(names.size(), 90U);
  EXPECT_EQ(find_pretokenizer("llama"), nullptr);
  EXPECT_EQ(find_pretokenizer(""), nullptr);
  EXPECT_EQ(find_pretokenizer("qwen2 deepseek-r1-qwen"), nullptr);
  EXPECT_NE(find_pretokenizer(kDefaultPretokenizer), nullptr);
  EXPECT_NE(find_pretokenizer(kFallbackPretokenizer), nullptr);
}

TEST(PretokenizerTable, flagsFollowTheName) {
  EXPECT_TRUE(find_pretokenizer("llama-bpe")->has(kIgnoreMerges));
  EXPECT_TRUE(find_pretokenizer("llama-bpe")->has(kAddBos));
  EXPECT_EQ(find_pretokenizer("dbrx")->flags, 0);
  EXPECT_EQ(find_pretokenizer("glm4")->flags, kNoDefaultBos);
  EXPECT_EQ(find_pretokenizer("chameleon")->flags, kAddBos);
  EXPECT_EQ(find_pretokenizer("minicpm5")->flags, kIgnoreMerges);
}

TEST(Pretokenizer, llama3KeepsContractionsAndGroupsThreeDigits) {
  EXPECT_EQ(split("llama3", "I'LL pay 12345 €!\n\n  now"),
            (Pieces{"I", "'LL", " pay", " ", "123", "45", " €!\n\n", " ", " now"}));
}

TEST(Pretokenizer, qwenSplitsEveryDigit) {
  EXPECT_EQ(split("qwen2", "a12!!\n b"), (Pieces{"a", "1", "2", "!!\n", " b"}));
}

TEST(Pretokenizer, combiningMarksBelongToWordsOnlyInQwen35) {
  EXPECT_EQ(split("qwen35", "e\u0301x"), (Pieces{"e\u0301x"}));
  EXPECT_EQ(split("qwen2", "e\u0301x"), (Pieces{"e", "\u0301x"}));
}

TEST(Pretokenizer, gpt2KnowsLowerCaseContractionsOnly) {
  EXPECT_EQ(split("gpt-2", "don't  stop123 ok  "),
            (Pieces{"don", "'t", " ", " stop", "123", " ok", "  "}));
  EXPECT_EQ(split("gpt-2", "DON'T"), (Pieces{"DON", "'", "T"}));
}

TEST(Pretokenizer, whiteSpaceThatNothingMatchesIsAPiece) {
  // A no-break space before a letter: GPT-2's pattern takes only U+0020 along.
  EXPECT_EQ(split("gpt-2", "a\u00A0b"), (Pieces{"a", "\u00A0", "b"}));
}

TEST(Pretokenizer, mongolianVowelSeparatorIsNoWhiteSpace) {
  EXPECT_EQ(split("gpt-2", "a \u180E"), (Pieces{"a", " \u180E"}));
  EXPECT_EQ(split("gpt-2", "a \u2003"), (Pieces{"a", " \u2003"}));
  EXPECT_EQ(split("gpt-2", "a!\u180E"), (Pieces{"a", "!\u180E"}));
  EXPECT_EQ(split("gpt-2", "a!\u2003"), (Pieces{"a", "!", "\u2003"}));
}

TEST(Pretokenizer, starcoderSplitsDigitsBeforeWords) {
  EXPECT_EQ(split("starcoder", "x 12"), (Pieces{"x", " ", "1", "2"}));
}

TEST(Pretokenizer, falconSplitsPunctuationThenThreeDigits) {
  EXPECT_EQ(split("falcon", "a--b12345"), (Pieces{"a", "--", "b", "123", "45"}));
  EXPECT_EQ(split("falcon", "x=`1`"), (Pieces{"x", "=`", "1", "`"}));
}

TEST(Pretokenizer, defaultDoesNotCountTheBacktickAsPunctuation) {
  EXPECT_EQ(split("default", "x=`1234`"), (Pieces{"x", "=", "`", "123", "4", "`"}));
}

TEST(Pretokenizer, deepseekSplitsByScript) {
  EXPECT_EQ(split("deepseek-llm", "Hi, мир 你好 12\n"),
            (Pieces{"Hi", ",", " мир", " ", "你好", " ", "12", "\n"}));
  EXPECT_EQ(split("deepseek-coder", "x1 y.z"), (Pieces{"x", "1", " y", ".", "z"}));
}

TEST(Pretokenizer, literalRangesDoNotMatchIdeographicSpace) {
  EXPECT_EQ(split("deepseek-llm", "你\u3000好、"), (Pieces{"你", "\u3000", "好", "、"}));
}

TEST(Pretokenizer, deepseek3JoinsPunctuationAndWord) {
  EXPECT_EQ(split("deepseek-v3", "日本語テキスト1234 #tag"),
            (Pieces{"日本語テキスト", "123", "4", " #", "tag"}));
  EXPECT_EQ(split("deepseek-v3", "#tag ~"), (Pieces{"#tag", " ~"}));
}

TEST(Pretokenizer, gpt4oCutsBeforeCapitals) {
  EXPECT_EQ(split("gpt-4o", "helloWorld HTTPServer's ABC //\n"),
            (Pieces{"hello", "World", " HTTPServer's", " ABC", " //\n"}));
}

TEST(Pretokenizer, graniteCountsMarksAsLetters) {
  EXPECT_EQ(split("granite-embed-multi-97m", "e\u0301A"), (Pieces{"e\u0301", "A"}));
  EXPECT_EQ(split("gpt-4o", "e\u0301A"), (Pieces{"e", "\u0301A"}));
}

TEST(Pretokenizer, tekkenHasNoContractions) {
  EXPECT_EQ(split("tekken", "it's'll 12"), (Pieces{"it", "'s", "'ll", " ", "1", "2"}));
  EXPECT_EQ(split("tekken", "a'sx"), (Pieces{"a", "'sx"}));
}

TEST(Pretokenizer, digitGroupsCountFromTheRight) {
  EXPECT_EQ(split("tiny_aya", "1234567 a12"), (Pieces{"1", "234", "567", " a", "12"}));
  EXPECT_EQ(split("superbpe", "ab1234567 1"), (Pieces{"ab", "1", "234", "567", " ", "1"}));
  EXPECT_EQ(split("afmoe", "ไทย1234"), (Pieces{"ไ", "ทย", "1", "234"}));
}

TEST(Pretokenizer, bloomSplitsAtSentenceMarks) {
  EXPECT_EQ(split("bloom", "Hi there, you.  a1"),
            (Pieces{"Hi", " there", ",", " you", ". ", " a1"}));
  EXPECT_EQ(split("viking", "a12"), (Pieces{"a", "1", "2"}));
}

TEST(Pretokenizer, chameleonRefinesItsOwnSentinels) {
  EXPECT_EQ(split("chameleon", "<sentinel:12>x"),
            (Pieces{"<", "sentinel", ":", "1", "2", ">", "x"}));
  EXPECT_EQ(split("chameleon", "xIMGIMGABZy"), (Pieces{"x", "IMGIMGABZ", "y"}));
  EXPECT_EQ(split("chameleon", "a    b   c"), (Pieces{"a", "    ", "b", "  ", " c"}));
}

TEST(Pretokenizer, bailingTakesAllLineEndsAtOnce) {
  EXPECT_EQ(split("bailingmoe", "a\n\n b"), (Pieces{"a", "\n\n", " b"}));
}

TEST(Pretokenizer, seedCoderKeepsLineEndsApart) {
  EXPECT_EQ(split("seed-coder", "!!\nx"), (Pieces{"!!", "\n", "x"}));
}

TEST(Pretokenizer, kimiSeparatesHanFromOtherLetters) {
  EXPECT_EQ(split("kimi-k2", "你好world 1234 it's x你"),
            (Pieces{"你好", "world", " ", "123", "4", " it's", " x", "你"}));
}

TEST(Pretokenizer, exaoneMoeJoinsWordsAcrossSpaces) {
  EXPECT_EQ(split("exaone-moe", "hello world 한국 12!"),
            (Pieces{"hello world 한국", " ", "1", "2", "!"}));
}

TEST(Pretokenizer, lagunaCutsAtLinesFirst) {
  EXPECT_EQ(split("laguna", "a\n\n!\n"), (Pieces{"a", "\n\n", "!", "\n"}));
}

TEST(Pretokenizer, characterVocabulariesCutAtLinesOrWhiteSpace) {
  EXPECT_EQ(split("gemma4", "▁a▁b\n\n!\n"), (Pieces{"▁a▁b", "\n\n", "!", "\n"}));
  EXPECT_EQ(split("whitespace", "ab, c\n\n日本 "), (Pieces{"ab,", " ", "c", "\n\n", "日本", " "}));
}

TEST(Pretokenizer, youtuSeparatesKorean) {
  EXPECT_EQ(split("youtu", "한국어abc，。"), (Pieces{"한국어", "abc", "，。"}));
}

TEST(Pretokenizer, jais2HalvesRunsOfSpaces) {
  const auto spaces = [](size_t n) { return std::string(n, ' '); };
  EXPECT_EQ(split("jais-2", spaces(5) + "x"), (Pieces{spaces(4), " x"}));
  EXPECT_EQ(split("jais-2", spaces(8) + "x"), (Pieces{spaces(4), spaces(2), " ", " x"}));
  EXPECT_EQ(split("jais-2", spaces(8)), (Pieces{spaces(8)}));
  EXPECT_EQ(split("jais-2", spaces(1500)),
            (Pieces{spaces(512), spaces(512), spaces(256), spaces(128), spaces(64), spaces(16),
                    spaces(8), spaces(4)}));
  EXPECT_EQ(split("jais-2", "!\n" + spaces(600) + "\nx"), (Pieces{"!\n", spaces(600) + "\n", "x"}));
}

TEST(Pretokenizer, minicpmGroupsDigitsFromTheLeft) {
  EXPECT_EQ(split("minicpm5", "a12345"), (Pieces{"a", "123", "45"}));
}

TEST(Pretokenizer, sparkKeepsLineEndsApart) {
  EXPECT_EQ(split("spark2_5", "a!\n\nb12"), (Pieces{"a", "!", "\n", "\n", "b", "1", "2"}));
}

TEST(Pretokenizer, ufakzekaHasNoContractions) {
  EXPECT_EQ(split("ufakzeka", "'sx"), (Pieces{"'sx"}));
  EXPECT_EQ(split("qwen2", "'sx"), (Pieces{"'s", "x"}));
}

// Characters that the patterns treat differently.
constexpr std::string_view kCharacters[] = {
    "a",      "s",      "t",      "Z",      "é",      "ß", "中", "あ", "ア", "한",        "ก",
    "م",      "\u0301", "1",      "9",      "½",      "٣", " ",  " ",  "\n", "\r",        "\t",
    "\u00A0", "\u3000", "\u2028", "\u0085", "'",      "!", "/",  "#",  "~",  "`",         "$",
    "。",     "，",     "😀",      "\uFFFD", "\u200B", "<", ">",  ":",  "\0", "\U0010FFFF"};

class EveryPretokenizer : public testing::TestWithParam<size_t> {
 protected:
  const Pretokenizer& row() const { return pretokenizer_table()[GetParam()]; }
};

// Whatever the text: pieces are not empty, end at characters, and together are the text.
TEST_P(EveryPretokenizer, piecesPartitionAnyText) {
  const auto made = TextSplitter::make(row());
  ASSERT_TRUE(made) << made.error().to_string();
  std::mt19937 random(1234);  // fixed seed
  for (int round = 0; round < 300; ++round) {
    std::string text;
    for (unsigned n = random() % 40; n > 0; --n) {
      text += kCharacters[random() % std::size(kCharacters)];
    }
    size_t begin = 0;
    for (const size_t end : made->split(text)) {
      ASSERT_LT(begin, end) << row().names << ": " << escape(text, 400);
      ASSERT_LE(end, text.size());
      if (end < text.size()) {
        ASSERT_TRUE(utf8::decode(text, end).valid) << escape(text, 400);
      }
      begin = end;
    }
    ASSERT_EQ(begin, text.size()) << row().names << ": " << escape(text, 400);
  }
}

// A pattern that takes quadratic time would need minutes for these.
TEST_P(EveryPretokenizer, longRunsOfOneCharacterTakeLinearTime) {
  const auto made = TextSplitter::make(row());
  ASSERT_TRUE(made) << made.error().to_string();
  for (const std::string_view unit : {"a", "A", " ", "\n", " \n", "1", "'", "é", "中", "!", "a "}) {
    std::string text;
    while (text.size() < 60'000) text += unit;
    for (const char* tail : {"", "x", "\n"}) {
      const auto ends = made->split(text + tail);
      ASSERT_FALSE(ends.empty());
      EXPECT_EQ(ends.back(), text.size() + std::string_view(tail).size());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Rows, EveryPretokenizer,
                         testing::Range<size_t>(0, pretokenizer_table().size()));

}  // namespace
}  // namespace quern::engine
