// Small vocabularies of our own for tests: a tiny BPE trainer (Sennrich et al., 2016) on a text of
// our own, and the files made of it.
#pragma once

#include <cstddef>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/tokenizer/byte_map.h"
#include "engine/tokenizer/tokenizer.h"
#include "engine/utf8.h"
#include "gguf/file.h"
#include "gguf/writer.h"

namespace quern::test {

inline constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581

inline constexpr std::string_view kCorpus =
    "The miller's daughter turned the hand mill, and the hand mill turned the grain into flour. "
    "She said: \"The grain isn't ground unless the stone is turned; the stone won't turn unless "
    "the "
    "hand turns it.\" In 1234 the old mill ground 5678 sacks, in 12345678 turns, for 90 coins "
    "each. "
    "for (int i = 0; i < 100; ++i) { total += grain[i] * 2; }    // turn, turn, turn!\n\n"
    "THE MILL AND THE STONE. The Stone And The Mill. Grain, flour, bread: bread, flour, grain...\n"
    "Der Müller dreht die Mühle, die Mühle dreht den Stein. La meunière a moulu le blé très fin. "
    "Мельница мелет зерно, зерно становится мукой. 石臼で粉を挽く。粉を挽く石臼。磨坊磨面粉。 "
    "맷돌을 돌려 밀가루를 만든다. ขนมปัง ขนมปัง 😀😀 ~~~ $$$ <<>> \t\t\t\r\n";

// A text as a list of symbols.
using Symbols = std::vector<std::string>;
using Pair = std::pair<std::string, std::string>;

inline void merge_everywhere(Symbols& word, const Pair& pair) {
  Symbols out;
  for (size_t i = 0; i < word.size(); ++i) {
    if (i + 1 < word.size() && word[i] == pair.first && word[i + 1] == pair.second) {
      out.push_back(pair.first + pair.second);
      ++i;
    } else {
      out.push_back(word[i]);
    }
  }
  word = std::move(out);
}

// The `count` merges that shorten `words` most, best first.
inline std::vector<Pair> train_merges(std::vector<Symbols> words, size_t count) {
  std::vector<Pair> merges;
  while (merges.size() < count) {
    std::map<Pair, int> pairs;
    for (const Symbols& word : words) {
      for (size_t i = 0; i + 1 < word.size(); ++i) ++pairs[{word[i], word[i + 1]}];
    }
    if (pairs.empty()) break;
    auto best = pairs.begin();
    for (auto i = pairs.begin(); i != pairs.end(); ++i) {
      if (i->second > best->second) best = i;
    }
    merges.push_back(best->first);
    for (Symbols& word : words) merge_everywhere(word, best->first);
  }
  return merges;
}

// `text` cut before every space.
inline std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words(1);
  for (const char c : text) {
    if (c == ' ') words.emplace_back();
    words.back() += c;
  }
  return words;
}

inline std::string character(char32_t code) {
  std::string out;
  engine::utf8::append(out, code);
  return out;
}

inline Symbols byte_symbols(std::string_view text) {
  Symbols out;
  for (const char c : text) {
    out.push_back(character(engine::byte_to_character(static_cast<uint8_t>(c))));
  }
  return out;
}

// Characters, with spaces as the vocabulary writes them.
inline Symbols character_symbols(std::string_view text) {
  Symbols out;
  for (size_t i = 0; i < text.size();) {
    const auto c = engine::utf8::decode(text, i);
    out.push_back(c.code == ' ' ? std::string(kSpace) : std::string(text.substr(i, c.length)));
    i += c.length;
  }
  return out;
}

// Merges learned from kCorpus over bytes or characters.
inline const std::vector<Pair>& corpus_merges(Symbols (*symbols)(std::string_view)) {
  static std::map<Symbols (*)(std::string_view), std::vector<Pair>> cache;
  auto& merges = cache[symbols];
  if (merges.empty()) {
    std::vector<Symbols> words;
    for (const std::string& word : words_of(kCorpus)) words.push_back(symbols(word));
    merges = train_merges(std::move(words), 300);
  }
  return merges;
}

struct TokenRow {
  std::string text;
  float score;
  int32_t type;
};

inline void set_tokens(gguf::Writer& writer, const std::vector<TokenRow>& rows) {
  std::vector<std::string> texts;
  std::vector<float> scores;
  std::vector<int32_t> types;
  for (const TokenRow& row : rows) {
    texts.push_back(row.text);
    scores.push_back(row.score);
    types.push_back(row.type);
  }
  writer.set("tokenizer.ggml.tokens", gguf::Writer::Array(texts));
  writer.set("tokenizer.ggml.scores", gguf::Writer::Array(scores));
  writer.set("tokenizer.ggml.token_type", gguf::Writer::Array(types));
}

// `gpt2`: 256 bytes, merged tokens, then <|end|> (control), <s> (control, bos and eos) and <|keep|>
// (user-defined).
inline gguf::Writer byte_level_writer(const std::string& pre) {
  std::vector<TokenRow> rows;
  for (unsigned byte = 0; byte < 256; ++byte) {
    rows.push_back({character(engine::byte_to_character(static_cast<uint8_t>(byte))), 0, 1});
  }
  std::vector<std::string> merges;
  for (const auto& [left, right] : corpus_merges(byte_symbols)) {
    merges.push_back(left + " " + right);
    rows.push_back({left + right, 0, 1});
  }
  const auto end = static_cast<uint32_t>(rows.size());
  for (const char* text : {"<|end|>", "<s>"}) rows.push_back({text, 0, 3});
  rows.push_back({"<|keep|>", 0, 4});

  gguf::Writer writer;
  writer.set("tokenizer.ggml.model", gguf::Writer::Scalar(std::string("gpt2")));
  writer.set("tokenizer.ggml.pre", gguf::Writer::Scalar(pre));
  set_tokens(writer, rows);
  writer.set("tokenizer.ggml.merges", gguf::Writer::Array(merges));
  writer.set("tokenizer.ggml.bos_token_id", gguf::Writer::Scalar(end + 1));
  writer.set("tokenizer.ggml.eos_token_id", gguf::Writer::Scalar(end + 1));
  return writer;
}

// `llama`: <unk>, <s>, </s>, 256 byte tokens, the characters and merged tokens of kCorpus, then
// <|end|> (control) and <|keep|> (user-defined). Single ASCII characters that kCorpus lacks are no
// tokens.
inline gguf::Writer sentence_piece_writer(bool add_space_prefix = true) {
  std::vector<TokenRow> rows = {{"<unk>", 0, 2}, {"<s>", 0, 3}, {"</s>", 0, 3}};
  const char* digits = "0123456789ABCDEF";
  for (unsigned byte = 0; byte < 256; ++byte) {
    rows.push_back({std::string("<0x") + digits[byte / 16] + digits[byte % 16] + ">", 0, 6});
  }
  float score = 0;
  std::map<std::string, bool> seen;
  for (const auto& [left, right] : corpus_merges(character_symbols)) {
    if (!seen.emplace(left + right, true).second) continue;
    rows.push_back({left + right, score -= 1, 1});
  }
  for (const std::string& c : character_symbols(kCorpus)) {
    if (seen.emplace(c, true).second) rows.push_back({c, -1000, 1});
  }
  rows.push_back({"<|end|>", 0, 3});
  rows.push_back({"<|keep|>", 0, 4});

  gguf::Writer writer;
  writer.set("tokenizer.ggml.model", gguf::Writer::Scalar(std::string("llama")));
  set_tokens(writer, rows);
  writer.set("tokenizer.ggml.add_space_prefix", gguf::Writer::Scalar(add_space_prefix));
  return writer;
}

// What T::from_file makes of the file that `writer` describes. T keeps nothing of the file.
template <typename T>
Result<T> read_written(const gguf::Writer& writer) {
  QUERN_TRY(const std::vector<std::byte> bytes, writer.bytes());
  QUERN_TRY(const gguf::File file, gguf::File::from_bytes(bytes, "vocabulary.gguf"));
  return T::from_file(file);
}

// For tests in which a failure is a mistake of the test.
template <typename T>
T made_of(const gguf::Writer& writer) {
  auto made = read_written<T>(writer);
  if (!made) throw std::runtime_error(made.error().to_string());
  return std::move(*made);
}
inline engine::Tokenizer tokenizer_of(const gguf::Writer& writer) {
  return made_of<engine::Tokenizer>(writer);
}

}  // namespace quern::test
