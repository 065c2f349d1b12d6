// Tokenizer: text to token ids and back, for one model.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/tokenizer/vocabulary.h"
#include "gguf/file.h"
#include "gguf/result.h"

namespace quern::engine {

// Immutable after construction, so any number of threads may use one. Keeps nothing of the file.
class Tokenizer {
 public:
  // A file without a tokenizer gives one with size() 0, that encodes everything to nothing: only
  // prompts made of ids are possible then. Errors: those of Vocabulary, "tokenizer-merges",
  // "tokenizer-regex", "out-of-memory".
  static Result<Tokenizer> from_file(const gguf::File& file);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  // Ids of `text`, any bytes. `add_special`: with bos in front and eos behind where the model wants
  // them. `parse_special`: texts of control tokens become those tokens; never for text from a user.
  std::vector<int32_t> encode(std::string_view text, bool add_special, bool parse_special) const;

  // Ids of a rendered chat template: control tokens are recognised; bos and eos are added only
  // where the model wants them and the template has not written them.
  std::vector<int32_t> encode_rendered(std::string_view text) const;

  // The bytes that a token adds to the output, possibly an incomplete character. Empty for tokens
  // that are not shown, unless `render_special` asks for them, and for ids outside the vocabulary.
  std::string piece(int32_t id, bool render_special = false) const;

  // The text of a whole sequence: its pieces, without the space that encode() puts in front.
  std::string decode(std::span<const int32_t> ids, bool render_special = false) const;

  size_t size() const;  // tokens in the vocabulary
  bool is_end_of_generation(int32_t id) const;

  // Special tokens: their ids, and their texts as templates and users write them ("" if none).
  std::optional<int32_t> special(Role role) const;
  std::string_view special_text(Role role) const;
  std::optional<int32_t> bos() const { return special(Role::kBos); }
  std::optional<int32_t> eos() const { return special(Role::kEos); }

  // The token's text as stored; "" for ids outside the vocabulary.
  std::string_view token_text(int32_t id) const;
  std::optional<int32_t> find(std::string_view text) const;  // by stored text

  const Vocabulary& vocabulary() const;
  std::span<const std::string> warnings() const;  // one sentence each

 private:
  struct Impl;
  static Result<Tokenizer> read(const gguf::File& file);
  explicit Tokenizer(std::unique_ptr<const Impl> impl);
  std::unique_ptr<const Impl> impl_;
};

}  // namespace quern::engine
