#include "engine/tokenizer/special_tokens.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "tests/engine/tokenizer/small_vocabulary.h"

namespace quern::engine {

bool operator==(const Fragment& a, const Fragment& b) {
  return a.begin == b.begin && a.end == b.end && a.id == b.id;
}
void PrintTo(const Fragment& f, std::ostream* out) {
  *out << "[" << f.begin << "," << f.end << ")=" << f.id;
}

namespace {

using gguf::Writer;
using test::TokenRow;
using testing::ElementsAre;
using testing::IsEmpty;

Vocabulary vocabulary_of(const std::vector<TokenRow>& rows, const std::string& name = "x") {
  Writer writer;
  writer.set("tokenizer.ggml.model", Writer::Scalar(std::string("llama")));
  writer.set("general.name", Writer::Scalar(name));
  test::set_tokens(writer, rows);
  return test::made_of<Vocabulary>(writer);
}

TEST(SpecialTokens, matchesControlTokensOnlyOnRequest) {
  const Vocabulary v = vocabulary_of({{"<u>", 0, 4}, {"<c>", 0, 3}, {"<k>", 0, 2}, {"n", 0, 1}});
  EXPECT_THAT(SpecialTokens(v, false).split("n<c><u><k>"),
              ElementsAre(Fragment{0, 4, -1}, Fragment{4, 7, 0}, Fragment{7, 10, -1}));
  EXPECT_THAT(
      SpecialTokens(v, true).split("n<c><u><k>"),
      ElementsAre(Fragment{0, 1, -1}, Fragment{1, 4, 1}, Fragment{4, 7, 0}, Fragment{7, 10, 2}));
  EXPECT_THAT(SpecialTokens(v, true).split(""), IsEmpty());
}

TEST(SpecialTokens, longerTokensWinWhereverTheyStand) {
  const Vocabulary v = vocabulary_of({{"ab", 0, 4}, {"bcd", 0, 4}, {"a", 0, 4}});
  EXPECT_THAT(SpecialTokens(v, false).split("abcd"),
              ElementsAre(Fragment{0, 1, 2}, Fragment{1, 4, 1}));
  EXPECT_THAT(SpecialTokens(v, false).split("abab"),
              ElementsAre(Fragment{0, 2, 0}, Fragment{2, 4, 0}));
}

TEST(SpecialTokens, phi3TokensTakeWhiteSpaceAlong) {
  const Vocabulary v =
      vocabulary_of({{"<unk>", 0, 2}, {"<s>", 0, 3}, {"</s>", 0, 3}, {"<u>", 0, 3}}, "phi-3");
  EXPECT_THAT(
      SpecialTokens(v, true).split("<u> \n x<s> y"),
      ElementsAre(Fragment{0, 6, 3}, Fragment{6, 7, -1}, Fragment{7, 10, 1}, Fragment{10, 12, -1}));
}

// The rule as it is written down: every token in turn, longest first, cuts all the text that is
// left.
std::vector<Fragment> split_token_by_token(const Vocabulary& v, const std::string& text) {
  // Of special tokens with the same text the last one counts.
  std::map<std::string, int32_t> special;
  for (int32_t id = 0; v.contains(id); ++id) {
    if (v[id].type != TokenType::kNormal) special[v[id].text] = id;
  }
  std::vector<int32_t> order;
  for (const auto& [unused, id] : special) order.push_back(id);
  std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    const size_t size_a = v[a].text.size(), size_b = v[b].text.size();
    return size_a != size_b ? size_a > size_b : a < b;
  });
  std::vector<Fragment> fragments = {{0, text.size(), -1}};
  for (const int32_t id : order) {
    const Token& token = v[id];
    std::vector<Fragment> next;
    for (Fragment rest : fragments) {
      while (rest.id < 0) {
        const size_t at = text.find(token.text, rest.begin);
        if (at == text.npos || at + token.text.size() > rest.end) break;
        Fragment match = {at, at + token.text.size(), id};
        while (token.strip_right && match.end < rest.end && text[match.end] == ' ') ++match.end;
        if (at > rest.begin) next.push_back({rest.begin, at, -1});
        next.push_back(match);
        rest.begin = match.end;
      }
      if (rest.id >= 0 || rest.begin < rest.end) next.push_back(rest);
    }
    fragments = std::move(next);
  }
  return fragments;
}

TEST(SpecialTokens, agreeWithReplacingTokenByToken) {
  std::mt19937 random(99);  // fixed seed
  const auto random_text = [&](size_t most) {
    std::string text;
    for (size_t n = 1 + random() % most; n > 0; --n) text += "ab "[random() % 3];
    return text;
  };
  for (int round = 0; round < 200; ++round) {
    std::vector<TokenRow> rows;
    for (unsigned n = 1 + random() % 12; n > 0; --n) {
      rows.push_back({random_text(6), 0, static_cast<int32_t>(1 + random() % 4)});
    }
    const Vocabulary v = vocabulary_of(rows, round % 2 ? "phi3" : "x");
    const SpecialTokens special(v, true);
    for (int i = 0; i < 20; ++i) {
      const std::string text = random_text(40);
      ASSERT_EQ(special.split(text), split_token_by_token(v, text))
          << "round " << round << ": " << text;
    }
  }
}

// Replacing token by token would need 10^10 steps.
TEST(SpecialTokens, timeDoesNotGrowWithTheVocabulary) {
  std::vector<TokenRow> rows;
  for (int i = 0; i < 20'000; ++i) rows.push_back({"<unused" + std::to_string(i) + ">", 0, 3});
  rows.push_back({std::string(1000, 'a'), 0, 4});
  const Vocabulary v = vocabulary_of(rows);
  const SpecialTokens special(v, true);
  std::string text;
  while (text.size() < 500'000) text += "<unused<unused77>";
  EXPECT_EQ(special.split(text).size(), 2 * ((500'000 + 16) / 17));
  EXPECT_EQ(special.split(std::string(500'999, 'a')).size(), 501U);
}

}  // namespace
}  // namespace quern::engine
