#include "engine/tokenizer/tokenizer.h"

#include <variant>

#include "engine/tokenizer/byte_level_bpe.h"
#include "engine/tokenizer/byte_map.h"
#include "engine/tokenizer/character_bpe.h"
#include "engine/tokenizer/normalize.h"
#include "engine/tokenizer/sentence_piece.h"
#include "engine/tokenizer/special_tokens.h"
#include "engine/utf8.h"
#include "gguf/exceptions.h"

namespace quern::engine {
namespace {

// The byte that a token written <0xHH> stands for.
std::optional<uint8_t> byte_of(std::string_view text) {
  if (text.size() != 6 || text.substr(0, 3) != "<0x" || text[5] != '>') return std::nullopt;
  unsigned value = 0;
  for (const char c : text.substr(3, 2)) {
    value *= 16;
    if (c >= '0' && c <= '9')
      value += static_cast<unsigned>(c - '0');
    else if (c >= 'A' && c <= 'F')
      value += static_cast<unsigned>(c - 'A' + 10);
    else if (c >= 'a' && c <= 'f')
      value += static_cast<unsigned>(c - 'a' + 10);
    else
      return std::nullopt;
  }
  return static_cast<uint8_t>(value);
}

// Characters that stand for no byte show as U+FFFD.
std::string bytes_of_characters(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const utf8::Character c = utf8::decode(text, i);
    if (const auto byte = character_to_byte(c.code)) {
      out += static_cast<char>(*byte);
    } else {
      utf8::append(out, utf8::kReplacement);
    }
    i += c.length;
  }
  return out;
}

}  // namespace

struct Tokenizer::Impl {
  using Algorithm = std::variant<std::monostate, SentencePiece, ByteLevelBpe, CharacterBpe>;

  explicit Impl(Vocabulary v)
      : vocabulary(std::move(v)), user_defined(vocabulary, false), special(vocabulary, true) {}

  void encode_text(std::string_view text, std::vector<int32_t>& ids) const {
    if (const auto* spm = std::get_if<SentencePiece>(&algorithm)) spm->encode(text, ids);
    if (const auto* bpe = std::get_if<ByteLevelBpe>(&algorithm)) bpe->encode(text, ids);
    if (const auto* bpe = std::get_if<CharacterBpe>(&algorithm)) bpe->encode(text, ids);
  }

  void encode_all(std::string_view text, bool parse_special, std::vector<int32_t>& ids) const {
    for (const Fragment& fragment : (parse_special ? special : user_defined).split(text)) {
      if (fragment.id >= 0) {
        ids.push_back(fragment.id);
      } else {
        encode_text(text.substr(fragment.begin, fragment.end - fragment.begin), ids);
      }
    }
  }

  // The algorithm and the matchers keep pointers to the vocabulary, so Impl never moves.
  Vocabulary vocabulary;
  SpecialTokens user_defined;  // matched in any text
  SpecialTokens special;       // matched where special tokens are asked for
  Algorithm algorithm;
};

Tokenizer::Tokenizer(std::unique_ptr<const Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Result<Tokenizer> Tokenizer::from_file(const gguf::File& file) {
  return catch_exceptions([&] { return read(file); });
}

Result<Tokenizer> Tokenizer::read(const gguf::File& file) {
  QUERN_TRY(Vocabulary vocabulary, Vocabulary::from_file(file));
  auto impl = std::make_unique<Impl>(std::move(vocabulary));
  switch (impl->vocabulary.model()) {
    case TokenizerModel::kNone:
      break;
    case TokenizerModel::kSentencePiece:
      impl->algorithm = SentencePiece(impl->vocabulary);
      break;
    case TokenizerModel::kByteLevelBpe: {
      QUERN_TRY(impl->algorithm, ByteLevelBpe::from_file(file, impl->vocabulary));
      break;
    }
    case TokenizerModel::kCharacterBpe: {
      QUERN_TRY(impl->algorithm, CharacterBpe::from_file(file, impl->vocabulary));
      break;
    }
  }
  return Tokenizer(std::move(impl));
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool add_special,
                                       bool parse_special) const {
  const Vocabulary& vocabulary = impl_->vocabulary;
  std::vector<int32_t> ids;
  if (add_special && vocabulary.add_bos()) ids.push_back(*bos());
  impl_->encode_all(text, parse_special, ids);
  if (add_special && vocabulary.add_eos()) ids.push_back(*eos());
  return ids;
}

std::vector<int32_t> Tokenizer::encode_rendered(std::string_view text) const {
  const Vocabulary& vocabulary = impl_->vocabulary;
  std::vector<int32_t> ids = encode(text, false, true);
  if (vocabulary.add_bos() && (ids.empty() || ids.front() != *bos())) {
    ids.insert(ids.begin(), *bos());
  }
  if (vocabulary.add_eos() && (ids.empty() || ids.back() != *eos())) ids.push_back(*eos());
  return ids;
}

std::string Tokenizer::piece(int32_t id, bool render_special) const {
  const Vocabulary& vocabulary = impl_->vocabulary;
  if (!vocabulary.contains(id)) return {};
  const Token& token = vocabulary[id];
  switch (token.type) {
    case TokenType::kUserDefined:
      return token.text;
    case TokenType::kControl:
    case TokenType::kUnknown:
      return render_special ? token.text : std::string();
    case TokenType::kUnused:
    case TokenType::kUndefined:
      return {};
    case TokenType::kByte: {
      const auto byte = byte_of(token.text);
      return byte ? std::string(1, static_cast<char>(*byte)) : token.text;
    }
    case TokenType::kNormal:
      break;
  }
  if (vocabulary.model() == TokenizerModel::kByteLevelBpe) return bytes_of_characters(token.text);
  return vocabulary.has_space_symbols() ? with_spaces(token.text) : token.text;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool render_special) const {
  std::string out;
  bool strip_space = impl_->vocabulary.add_space_prefix();
  for (const int32_t id : ids) {
    const std::string bytes = piece(id, render_special);
    if (bytes.empty()) continue;
    const bool strip = strip_space && bytes.front() == ' ';
    out.append(bytes, strip ? 1 : 0);
    strip_space = false;
  }
  return out;
}

size_t Tokenizer::size() const { return impl_->vocabulary.size(); }

bool Tokenizer::is_end_of_generation(int32_t id) const {
  return impl_->vocabulary.contains(id) && impl_->vocabulary[id].ends_generation;
}

std::optional<int32_t> Tokenizer::special(Role role) const {
  return impl_->vocabulary.special(role);
}

std::string_view Tokenizer::special_text(Role role) const {
  const auto id = special(role);
  return id ? token_text(*id) : std::string_view();
}

std::string_view Tokenizer::token_text(int32_t id) const {
  return impl_->vocabulary.contains(id) ? std::string_view(impl_->vocabulary[id].text)
                                        : std::string_view();
}

std::optional<int32_t> Tokenizer::find(std::string_view text) const {
  return impl_->vocabulary.find(text);
}

const Vocabulary& Tokenizer::vocabulary() const { return impl_->vocabulary; }

std::span<const std::string> Tokenizer::warnings() const { return impl_->vocabulary.warnings(); }

}  // namespace quern::engine
