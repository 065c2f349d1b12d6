// Vocabulary: the tokens of a model file, what they are for, and how text is turned into them.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/tokenizer/special_roles.h"
#include "engine/tokenizer/text_index.h"
#include "gguf/file.h"
#include "gguf/result.h"

namespace quern::engine {

// Values as `tokenizer.ggml.token_type` stores them.
enum class TokenType : uint8_t {
  kUndefined = 0,
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,      // steers the model; matched in text only on request, never shown
  kUserDefined = 4,  // always matched in text as a whole, shown literally
  kUnused = 5,
  kByte = 6,  // one byte, written <0xHH>
};

struct Token {
  std::string text;  // bytes as stored: the algorithm's own spelling, not what a user sees
  float score = 0;   // SentencePiece: higher merges first; never NaN
  TokenType type = TokenType::kNormal;
  bool ends_generation = false;
  bool strip_left = false;   // white space before it in the input belongs to it
  bool strip_right = false;  // white space after it in the input belongs to it
};

enum class TokenizerModel {
  kNone,           // ids only
  kSentencePiece,  // `llama`: merges by score over characters
  kByteLevelBpe,   // `gpt2`: merges by rank over bytes
  kCharacterBpe,   // `gemma4`, and `gpt2` with certain pre-tokenizers: merges by rank over
                   // characters
};

class Vocabulary {
 public:
  // Reads the `tokenizer.ggml.*` keys. A file without a tokenizer gives an empty vocabulary.
  // Errors: "tokenizer-model" (unsupported), "tokenizer-tokens",
  // "tokenizer-scores", "tokenizer-types", "tokenizer-key" (a key of the wrong type).
  static Result<Vocabulary> from_file(const gguf::File& file);

  Vocabulary(Vocabulary&&) = default;
  Vocabulary& operator=(Vocabulary&&) = default;

  TokenizerModel model() const { return model_; }
  // Name of the pre-tokenizer to use (both kinds of BPE): always one that find_pretokenizer()
  // knows.
  std::string_view pretokenizer() const { return pretokenizer_; }

  size_t size() const { return tokens_.size(); }
  bool contains(int32_t id) const { return id >= 0 && static_cast<size_t>(id) < tokens_.size(); }
  const Token& operator[](int32_t id) const { return tokens_[static_cast<size_t>(id)]; }
  // The id with exactly this text; the last one if a text occurs twice.
  std::optional<int32_t> find(std::string_view text) const;
  size_t longest_text() const { return longest_text_; }  // bytes

  std::optional<int32_t> special(Role role) const { return special_[static_cast<size_t>(role)]; }
  bool add_bos() const { return add_bos_; }  // implies that there is a bos id
  bool add_eos() const { return add_eos_; }
  bool add_space_prefix() const { return add_space_prefix_; }
  bool has_space_symbols() const { return has_space_symbols_; }  // a space in a token is U+2581

  // One sentence each: what the file says that was ignored or replaced.
  std::span<const std::string> warnings() const { return warnings_; }

 private:
  Vocabulary() = default;
  auto text_of() const {
    return [this](int32_t id) { return std::string_view((*this)[id].text); };
  }
  Status read_model(const gguf::File& file);
  Status read_tokens(const gguf::File& file);
  Status read_scores(const gguf::File& file);
  Status read_types(const gguf::File& file);
  Status read_special_ids(const gguf::File& file);
  Status read_flags(const gguf::File& file);
  void choose_pretokenizer(const gguf::File& file);
  void set_default_ids(const gguf::File& file);
  void detect_special_ids();
  void correct_types();
  void mark_end_of_generation();
  void set_strip_rules(const gguf::File& file);

  TokenizerModel model_ = TokenizerModel::kNone;
  std::string pretokenizer_;
  std::vector<Token> tokens_;
  TextIndex ids_;
  size_t longest_text_ = 0;
  std::array<std::optional<int32_t>, kRoleCount> special_;
  bool add_bos_ = false;
  bool add_eos_ = false;
  bool add_space_prefix_ = false;
  bool has_space_symbols_ = false;
  std::vector<std::string> warnings_;
};

// An error about key `key` of `file`; message: a sentence.
Error vocabulary_error(const gguf::File& file, std::string code, std::string_view key,
                       std::string message);

}  // namespace quern::engine
