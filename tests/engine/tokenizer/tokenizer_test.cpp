// The whole tokenizer: against slow implementations written from the rules, and what a user relies
// on.
#include "engine/tokenizer/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "engine/tokenizer/pretokenizer.h"
#include "tests/engine/tokenizer/small_vocabulary.h"
#include "tests/golden_path.h"

namespace quern::engine {
namespace {

using gguf::Writer;
using test::byte_level_writer;
using test::sentence_piece_writer;
using test::Symbols;
using test::tokenizer_of;
using testing::ElementsAre;
using testing::HasSubstr;

using Ids = std::vector<int32_t>;

const Tokenizer& small_bpe() {
  static const Tokenizer tokenizer = tokenizer_of(byte_level_writer("llama3"));
  return tokenizer;
}

const Tokenizer& small_spm() {
  static const Tokenizer tokenizer = tokenizer_of(sentence_piece_writer());
  return tokenizer;
}

// Text made of fragments of the corpus, characters and bytes that no text contains.
std::string random_text(std::mt19937& random) {
  constexpr std::string_view kParts[] = {
      "\xE2\x96\x81", "  ", " ", "<|keep|>", "<|end|>", "<s>", "\xFF",  "\xE2", "\x96",
      "\xF0\x9F",     "\0", "é", "\u0301",   "😀",       "the", "12345", "\n",   "'s"};
  std::string text;
  for (unsigned n = random() % 12; n > 0; --n) {
    if (random() % 2) {
      text += kParts[random() % std::size(kParts)];
    } else {
      text += test::kCorpus.substr(random() % test::kCorpus.size(), random() % 20);
    }
  }
  return text;
}

std::string replace_all(std::string text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != text.npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
  return text;
}

std::string without_malformed(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const auto c = utf8::decode(text, i);
    utf8::append(out, c.code);
    i += c.length;
  }
  return out;
}

// Merges the best adjacent pair until there is none; better(a, b): the pair with value a goes
// first.
template <typename Value, typename Better>
void merge_best(Symbols& symbols, Value value_of, Better better) {
  for (;;) {
    size_t best = symbols.size();
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const auto value = value_of(symbols[i], symbols[i + 1]);
      if (!value) continue;
      if (best == symbols.size() || better(*value, *value_of(symbols[best], symbols[best + 1]))) {
        best = i;
      }
    }
    if (best == symbols.size()) return;
    symbols[best] += symbols[best + 1];
    symbols.erase(symbols.begin() + static_cast<ptrdiff_t>(best) + 1);
  }
}

// SentencePiece over the whole text at once, pair by pair.
Ids slow_spm(const Vocabulary& v, const std::string& text) {
  if (text.empty()) return {};
  const std::string all = replace_all(" " + text, " ", test::kSpace);
  Symbols symbols;
  for (size_t i = 0; i < all.size();) {
    constexpr size_t kSizes[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 3, 4};
    symbols.push_back(all.substr(i, kSizes[static_cast<uint8_t>(all[i]) >> 4]));
    i += symbols.back().size();
  }
  merge_best(
      symbols,
      [&](const std::string& a, const std::string& b) -> std::optional<float> {
        const auto id = v.find(a + b);
        if (!id) return std::nullopt;
        return v[*id].score;
      },
      std::greater<float>());
  Ids ids;
  for (const std::string& symbol : symbols) {
    if (const auto id = v.find(symbol)) {
      ids.push_back(*id);
      continue;
    }
    for (const char c : symbol) ids.push_back(3 + static_cast<uint8_t>(c));
  }
  return ids;
}

TEST(SentencePiece, agreesWithMergingPairByPair) {
  const Tokenizer& tokenizer = small_spm();
  std::mt19937 random(7);  // fixed seed
  for (int round = 0; round < 1500; ++round) {
    std::string text = replace_all(random_text(random), "<|keep|>", "");
    ASSERT_EQ(tokenizer.encode(text, false, false), slow_spm(tokenizer.vocabulary(), text))
        << escape(text, 400);
  }
}

// Tokens with a space inside: then words may not be cut apart at spaces.
TEST(SentencePiece, mergesAcrossSpacesWhereATokenDoes) {
  Writer writer = sentence_piece_writer(false);
  const std::string s(test::kSpace);
  std::vector<test::TokenRow> rows = {
      {"<unk>", 0, 2}, {"<s>", 0, 3},    {"</s>", 0, 3},         {"a", -9, 1},    {s, -9, 1},
      {"b", -9, 1},    {"a" + s, -1, 1}, {"a" + s + "b", -2, 1}, {s + "b", -3, 1}};
  test::set_tokens(writer, rows);
  const Tokenizer tokenizer = tokenizer_of(writer);
  EXPECT_THAT(tokenizer.encode("a ba  bb b", false, false), ElementsAre(7, 6, 8, 5, 8));
}

Ids slow_bpe(const Tokenizer& tokenizer, const std::string& pre, const std::string& raw) {
  const auto splitter = TextSplitter::make(*find_pretokenizer(pre));
  std::map<test::Pair, int> ranks;
  for (const test::Pair& pair : test::corpus_merges(test::byte_symbols)) {
    ranks.emplace(pair, static_cast<int>(ranks.size()));
  }
  Ids ids;
  size_t begin = 0;
  const std::string text = without_malformed(raw);
  for (const size_t end : splitter->split(text)) {
    Symbols symbols = test::byte_symbols(text.substr(begin, end - begin));
    merge_best(
        symbols,
        [&](const std::string& a, const std::string& b) -> std::optional<int> {
          const auto rank = ranks.find({a, b});
          if (rank == ranks.end()) return std::nullopt;
          return rank->second;
        },
        std::less<int>());
    for (const std::string& symbol : symbols) ids.push_back(*tokenizer.find(symbol));
    begin = end;
  }
  return ids;
}

TEST(ByteLevelBpe, agreesWithMergingPairByPair) {
  const Tokenizer tokenizer = tokenizer_of(byte_level_writer("gpt-2"));
  std::mt19937 random(8);  // fixed seed
  for (int round = 0; round < 1500; ++round) {
    std::string text = replace_all(random_text(random), "<|keep|>", "");
    ASSERT_EQ(tokenizer.encode(text, false, false), slow_bpe(tokenizer, "gpt-2", text))
        << escape(text, 400);
  }
}

TEST(ByteLevelBpe, everyPretokenizerGivesTheBytesBack) {
  std::mt19937 random(9);  // fixed seed
  for (const Pretokenizer& row : pretokenizer_table()) {
    if (row.has(kCharacters)) continue;
    const std::string name(row.names.substr(0, row.names.find(' ')));
    const Tokenizer tokenizer = tokenizer_of(byte_level_writer(name));
    for (int round = 0; round < 40; ++round) {
      const std::string text = random_text(random);
      ASSERT_EQ(tokenizer.decode(tokenizer.encode(text, false, false)), without_malformed(text))
          << name << ": " << escape(text, 400);
    }
  }
}

TEST(ByteLevelBpe, usesWholePiecesBeforeMergesWhereTheModelDoes) {
  for (const auto& [pre, expected] : {std::pair{"llama3", Ids{3}}, {"dbrx", Ids{2, 4}}}) {
    Writer writer;
    writer.set("tokenizer.ggml.model", Writer::Scalar(std::string("gpt2")));
    writer.set("tokenizer.ggml.pre", Writer::Scalar(std::string(pre)));
    test::set_tokens(writer, {{"a", 0, 1}, {"b", 0, 1}, {"ab", 0, 1}, {"abc", 0, 1}, {"c", 0, 1}});
    writer.set("tokenizer.ggml.merges", Writer::Array(std::vector<std::string>{"a b"}));
    EXPECT_EQ(tokenizer_of(writer).encode("abc", false, false), expected) << pre;
  }
}

TEST(ByteLevelBpe, mergedTextsThatAreNoTokensFallApart) {
  Writer writer;
  writer.set("tokenizer.ggml.model", Writer::Scalar(std::string("gpt2")));
  writer.set("tokenizer.ggml.pre", Writer::Scalar(std::string("gpt-2")));
  test::set_tokens(writer, {{"a", 0, 1}, {"b", 0, 1}, {"abc", 0, 1}});
  writer.set("tokenizer.ggml.merges",
             Writer::Array(std::vector<std::string>{"a b", "ab c", "b a"}));
  const Tokenizer tokenizer = tokenizer_of(writer);
  EXPECT_THAT(tokenizer.encode("abc", false, false), ElementsAre(2));
  EXPECT_THAT(tokenizer.encode("abd", false, false), ElementsAre(0, 1));  // d is no token: lost
}

TEST(ByteLevelBpe, refusesMalformedMerges) {
  for (const char* merge : {"", " ", "ab", "ab ", " ab"}) {
    Writer writer = byte_level_writer("gpt-2");
    writer.set("tokenizer.ggml.merges", Writer::Array(std::vector<std::string>{"t h", merge}));
    const auto tokenizer = test::read_written<Tokenizer>(writer);
    ASSERT_FALSE(tokenizer) << merge;
    EXPECT_EQ(tokenizer.error().code, "tokenizer-merges");
    EXPECT_THAT(tokenizer.error().message, HasSubstr("merge 1"));
  }
  Writer writer = byte_level_writer("gpt-2");
  writer.set("tokenizer.ggml.merges", Writer::Array(std::vector<int32_t>{1}));
  EXPECT_EQ(test::read_written<Tokenizer>(writer).error().code, "tokenizer-merges");
}

TEST(Tokenizer, addsBosAndEosWhereTheModelWantsThem) {
  Writer writer = sentence_piece_writer();
  writer.set("tokenizer.ggml.add_eos_token", Writer::Scalar(true));
  const Tokenizer tokenizer = tokenizer_of(writer);
  EXPECT_THAT(tokenizer.encode("", true, false), ElementsAre(1, 2));
  EXPECT_THAT(tokenizer.encode("", false, true), ElementsAre());
  EXPECT_EQ(tokenizer.special_text(Role::kBos), "<s>");
  EXPECT_EQ(tokenizer.special_text(Role::kMask), "");
}

TEST(Tokenizer, renderedTemplatesGetNoSecondBosOrEos) {
  Writer writer = sentence_piece_writer();
  writer.set("tokenizer.ggml.add_eos_token", Writer::Scalar(true));
  const Tokenizer tokenizer = tokenizer_of(writer);
  const Ids plain = tokenizer.encode("the mill", true, false);
  EXPECT_EQ(tokenizer.encode_rendered("the mill"), plain);
  EXPECT_EQ(tokenizer.encode_rendered("<s>the mill"), plain);
  EXPECT_EQ(tokenizer.encode_rendered("<s>the mill</s>"), plain);
  EXPECT_THAT(tokenizer.encode_rendered(""), ElementsAre(1, 2));

  writer.set("tokenizer.ggml.add_bos_token", Writer::Scalar(false));
  EXPECT_EQ(tokenizer_of(writer).encode_rendered("the mill").front(), plain[1]);
}

TEST(Tokenizer, textFromUsersCannotContainControlTokens) {
  for (const Tokenizer* tokenizer : {&small_spm(), &small_bpe()}) {
    const int32_t end = *tokenizer->find("<|end|>");
    EXPECT_THAT(tokenizer->encode("a<|end|>", false, false), testing::Not(testing::Contains(end)));
    EXPECT_THAT(tokenizer->encode("a<|end|>", false, true), testing::Contains(end));
    const int32_t keep = *tokenizer->find("<|keep|>");
    EXPECT_THAT(tokenizer->encode("a<|keep|>", false, false), testing::Contains(keep));
  }
}

TEST(Tokenizer, everyTextAfterASpecialTokenGetsTheSpacePrefix) {
  const Tokenizer& t = small_spm();
  const int32_t the = *t.find(std::string(test::kSpace) + "the");
  const int32_t end = *t.find("<|end|>");
  EXPECT_THAT(t.encode("the<|end|>the", false, true), ElementsAre(the, end, the));
}

TEST(Tokenizer, showsPiecesByTheirType) {
  const Tokenizer& spm = small_spm();
  EXPECT_EQ(spm.piece(1), "");
  EXPECT_EQ(spm.piece(1, true), "<s>");
  EXPECT_EQ(spm.piece(3 + 0xFF), "\xFF");
  EXPECT_EQ(spm.piece(*spm.find(std::string(test::kSpace) + "the")), " the");
  EXPECT_EQ(spm.piece(*spm.find("<|keep|>")), "<|keep|>");
  EXPECT_EQ(spm.piece(-1), "");
  EXPECT_EQ(spm.piece(static_cast<int32_t>(spm.size())), "");
  EXPECT_EQ(spm.token_text(-1), "");
  EXPECT_FALSE(spm.is_end_of_generation(-1));
  EXPECT_TRUE(spm.is_end_of_generation(2));
  EXPECT_TRUE(spm.is_end_of_generation(*spm.find("<|end|>")));

  const Tokenizer& bpe = small_bpe();
  EXPECT_EQ(bpe.piece(*bpe.find("Ġthe")), " the");
  EXPECT_EQ(bpe.piece(*bpe.find("Ċ")), "\n");
}

TEST(Tokenizer, showsCharactersThatStandForNoByteAsReplacement) {
  Writer writer = byte_level_writer("gpt-2");
  test::set_tokens(
      writer,
      {{"a中", 0, 1}, {"中", 0, 4}, {"x", 0, 5}, {"y", 0, 0}, {"<0x-1>", 0, 6}, {"<0x4a>", 0, 6}});
  const Tokenizer tokenizer = tokenizer_of(writer);
  EXPECT_EQ(tokenizer.piece(0), "a\uFFFD");
  EXPECT_EQ(tokenizer.piece(1), "中");
  EXPECT_EQ(tokenizer.piece(2), "");
  EXPECT_EQ(tokenizer.piece(3), "");
  EXPECT_EQ(tokenizer.piece(4), "<0x-1>");
  EXPECT_EQ(tokenizer.piece(5), "J");
}

TEST(Tokenizer, decodesWhatItEncodes) {
  std::mt19937 random(10);  // fixed seed
  for (int round = 0; round < 1000; ++round) {
    const std::string text = random_text(random);
    ASSERT_EQ(small_bpe().decode(small_bpe().encode(text, true, false)), without_malformed(text));
    // SentencePiece cannot tell U+2581 from a space; text after <|keep|> would get a space prefix.
    const std::string plain = replace_all(text, "<|keep|>", "");
    const std::string decoded = small_spm().decode(small_spm().encode(plain, true, false));
    ASSERT_EQ(replace_all(decoded, test::kSpace, " "), replace_all(plain, test::kSpace, " "));
  }
}

TEST(Tokenizer, withoutAVocabularyEncodesNothing) {
  Writer writer;
  writer.set("tokenizer.ggml.model", Writer::Scalar(std::string("no_vocab")));
  const Tokenizer tokenizer = tokenizer_of(writer);
  EXPECT_EQ(tokenizer.size(), 0U);
  EXPECT_THAT(tokenizer.encode("text", true, true), ElementsAre());
  EXPECT_THAT(tokenizer.encode_rendered("text"), ElementsAre());
  EXPECT_EQ(tokenizer.decode(Ids{1, 2}), "");
  EXPECT_EQ(tokenizer.bos(), std::nullopt);
}

TEST(Tokenizer, oneTokenizerServesManyThreads) {
  const std::string text(test::kCorpus);
  const Ids spm = small_spm().encode(text, true, true);
  const Ids bpe = small_bpe().encode(text, true, true);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 20; ++round) {
        EXPECT_EQ(small_spm().encode(text, true, true), spm);
        EXPECT_EQ(small_bpe().encode(text, true, true), bpe);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// Merging or matching in quadratic time would need minutes.
TEST(Tokenizer, longRunsTakeLinearTime) {
  for (const std::string_view unit : {"a", " ", "\n", "1", "😀", "\xFF", "\xE2\x96\x81", "<|en"}) {
    std::string text;
    while (text.size() < 150'000) text += unit;
    for (const Tokenizer* tokenizer : {&small_spm(), &small_bpe()}) {
      EXPECT_FALSE(tokenizer->encode(text, true, true).empty());
    }
  }
}

Tokenizer bundled() {
  const auto file =
      gguf::File::open(std::string(QUERN_SOURCE_DIR) + "/models/quern-tiny-stories-Q4_K_M.gguf");
  if (!file) throw std::runtime_error(file.error().to_string());
  auto tokenizer = Tokenizer::from_file(*file);
  if (!tokenizer) throw std::runtime_error(tokenizer.error().to_string());
  return std::move(*tokenizer);
}

std::string read_text(const std::string& path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

TEST(BundledModel, tokenizesTheReferencePrompts) {
  const Tokenizer tokenizer = bundled();
  EXPECT_EQ(tokenizer.size(), 2048U);
  EXPECT_THAT(tokenizer.warnings(), testing::IsEmpty());
  EXPECT_TRUE(tokenizer.is_end_of_generation(5));
  EXPECT_TRUE(tokenizer.is_end_of_generation(2));
  EXPECT_FALSE(tokenizer.is_end_of_generation(4));

  const auto golden = nlohmann::json::parse(read_text(test::own_golden("greedy.json")));
  ASSERT_GE(golden["cases"].size(), 3U);
  for (const auto& c : golden["cases"]) {
    const auto question = c["question"].get<std::string>();
    EXPECT_EQ(tokenizer.encode_rendered("<|user|>" + question + "<|end|><|assistant|>"),
              c["prompt_ids"].get<Ids>())
        << question;
  }
}

TEST(BundledModel, givesTextBack) {
  const Tokenizer tokenizer = bundled();
  const std::string stories = read_text(test::own_golden("validation.txt"));
  ASSERT_GT(stories.size(), 2000U);
  for (const std::string& text :
       {stories, std::string("tab\tand  spaces  "), std::string("Zürich 😀 \xFF\xFE"),
        std::string(" <|end|> </s>"), std::string("\n\n")}) {
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text, true, false)), text);
  }
}

TEST(BundledModel, needsAsManyTokensAsItsTrainingCounted) {
  const auto path = test::shared_golden("../models/validation.txt");
  if (!path) GTEST_SKIP() << "the complete validation text is not here";
  EXPECT_EQ(bundled().encode(read_text(*path), true, false).size(), 54249U);  // from its card
}

}  // namespace
}  // namespace quern::engine
