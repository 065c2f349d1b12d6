// Reads a vocabulary. The meaning of every key and correction: docs/tokenizers.md.
#include "engine/tokenizer/vocabulary.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "engine/tokenizer/pretokenizer.h"

namespace quern::engine {
namespace {

constexpr std::string_view kModelKey = "tokenizer.ggml.model";
constexpr std::string_view kPreKey = "tokenizer.ggml.pre";
constexpr std::string_view kTokensKey = "tokenizer.ggml.tokens";
constexpr std::string_view kScoresKey = "tokenizer.ggml.scores";
constexpr std::string_view kTypesKey = "tokenizer.ggml.token_type";
constexpr std::string_view kGemma4 = "gemma4";  // a tokenizer model and a pre-tokenizer

tl::unexpected<Error> refuse(const gguf::File& file, std::string code, std::string_view key,
                             std::string message) {
  return tl::unexpected(vocabulary_error(file, std::move(code), key, std::move(message)));
}

tl::unexpected<Error> unsupported(const gguf::File& file, std::string code, std::string_view key,
                                  std::string_view found, std::string message) {
  Error error = vocabulary_error(file, std::move(code), key, std::move(message));
  error.kind = ErrorKind::kUnsupported;
  error.found = std::string(found);
  return tl::unexpected(std::move(error));
}

// Leaves `flag` as it is when the key is absent.
Status read_flag(const gguf::File& file, std::string_view key, bool& flag) {
  const gguf::Value* value = file.find(key);
  if (!value) return {};
  const auto stored = value->as_bool();
  if (!stored) return refuse(file, "tokenizer-key", key, fmt::format("{} is not a bool", key));
  flag = *stored;
  return {};
}

bool mentions(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

std::string ascii_lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

}  // namespace

Error vocabulary_error(const gguf::File& file, std::string code, std::string_view key,
                       std::string message) {
  Error error;
  error.kind = ErrorKind::kBadInput;
  error.code = std::move(code);
  error.message = std::move(message);
  error.path = file.path();
  error.field = std::string(key);
  return error;
}

Result<Vocabulary> Vocabulary::from_file(const gguf::File& file) {
  Vocabulary vocabulary;
  QUERN_CHECK(vocabulary.read_model(file));
  if (vocabulary.model_ == TokenizerModel::kNone) return vocabulary;
  QUERN_CHECK(vocabulary.read_tokens(file));
  QUERN_CHECK(vocabulary.read_scores(file));
  QUERN_CHECK(vocabulary.read_types(file));
  if (vocabulary.model_ == TokenizerModel::kByteLevelBpe) vocabulary.choose_pretokenizer(file);
  vocabulary.set_default_ids(file);
  QUERN_CHECK(vocabulary.read_special_ids(file));
  vocabulary.detect_special_ids();
  QUERN_CHECK(vocabulary.read_flags(file));
  vocabulary.correct_types();
  vocabulary.mark_end_of_generation();
  vocabulary.set_strip_rules(file);
  return vocabulary;
}

std::optional<int32_t> Vocabulary::find(std::string_view text) const {
  return ids_.find(text, text_of());
}

Status Vocabulary::read_model(const gguf::File& file) {
  const gguf::Value* value = file.find(kModelKey);
  const std::string_view name = value ? value->as_string().value_or("") : "none";
  if (name == "llama") {
    model_ = TokenizerModel::kSentencePiece;
  } else if (name == "gpt2") {
    model_ = TokenizerModel::kByteLevelBpe;
  } else if (name == kGemma4) {
    model_ = TokenizerModel::kCharacterBpe;
    pretokenizer_ = kGemma4;
  } else if (name != "no_vocab" && name != "none") {
    return unsupported(
        file, "tokenizer-model", kModelKey, name,
        fmt::format("tokenizer model {} is not supported; supported are llama, gpt2 and gemma4",
                    escape(name)));
  }
  return {};
}

Status Vocabulary::read_tokens(const gguf::File& file) {
  const gguf::Value* value = file.find(kTokensKey);
  if (!value || value->type() != gguf::ValueType::kArray ||
      value->element_type() != gguf::ValueType::kString || value->size() == 0) {
    return refuse(
        file, "tokenizer-tokens", kTokensKey,
        fmt::format("{} must be an array of strings with at least one token", kTokensKey));
  }
  if (value->size() > std::numeric_limits<int32_t>::max()) {
    return refuse(file, "tokenizer-tokens", kTokensKey,
                  fmt::format("{} tokens are more than ids can count", value->size()));
  }
  tokens_.resize(value->size());
  ids_ = TextIndex(value->size());
  for (size_t i = 0; i < tokens_.size(); ++i) {
    std::string& text = tokens_[i].text;
    text = value->string_at(i).value_or("");
    if (text.empty()) text = fmt::format("[EMPTY_{}]", i);
    longest_text_ = std::max(longest_text_, text.size());
    ids_.insert(text, static_cast<int32_t>(i), text_of());
  }
  return {};
}

Status Vocabulary::read_scores(const gguf::File& file) {
  const gguf::Value* value = file.find(kScoresKey);
  if (!value) return {};
  if (value->size() != tokens_.size()) {
    return refuse(
        file, "tokenizer-scores", kScoresKey,
        fmt::format("{} has {} values for {} tokens", kScoresKey, value->size(), tokens_.size()));
  }
  for (size_t i = 0; i < tokens_.size(); ++i) {
    const auto score = value->f64_at(i);
    if (!score || std::isnan(*score)) {
      return refuse(file, "tokenizer-scores", kScoresKey,
                    fmt::format("the score of token {} is not a number", i));
    }
    // Clamped, because a double beyond the range of float has no defined conversion.
    constexpr double kMost = std::numeric_limits<float>::max();
    tokens_[i].score = static_cast<float>(std::clamp(*score, -kMost, kMost));
  }
  return {};
}

Status Vocabulary::read_types(const gguf::File& file) {
  const gguf::Value* value = file.find(kTypesKey);
  if (!value) return {};
  if (value->size() != tokens_.size()) {
    return refuse(
        file, "tokenizer-types", kTypesKey,
        fmt::format("{} has {} values for {} tokens", kTypesKey, value->size(), tokens_.size()));
  }
  size_t unknown_types = 0;
  for (size_t i = 0; i < tokens_.size(); ++i) {
    const auto type = value->i64_at(i);
    if (!type) {
      return refuse(file, "tokenizer-types", kTypesKey,
                    fmt::format("{} must be an array of integers", kTypesKey));
    }
    const bool known = *type >= 0 && *type <= static_cast<int64_t>(TokenType::kByte);
    unknown_types += !known;
    tokens_[i].type = known ? static_cast<TokenType>(*type) : TokenType::kUndefined;
  }
  if (unknown_types > 0) {
    warnings_.push_back(
        fmt::format("{} tokens have a type that is not known (allowed: 0 to 6); "
                    "they are never shown",
                    unknown_types));
  }
  return {};
}

void Vocabulary::choose_pretokenizer(const gguf::File& file) {
  pretokenizer_ = file.text(kPreKey);
  if (pretokenizer_.empty()) {
    pretokenizer_ = kDefaultPretokenizer;
    warnings_.push_back(
        fmt::format("{} is absent: text may be split differently from how the "
                    "model was trained, answers may be worse",
                    kPreKey));
  } else if (!find_pretokenizer(pretokenizer_)) {
    warnings_.push_back(
        fmt::format("pre-tokenizer {} is not known, using that of Llama 3: answers "
                    "may be worse",
                    escape(pretokenizer_)));
    pretokenizer_ = kFallbackPretokenizer;
  }
  if (find_pretokenizer(pretokenizer_)->has(kCharacters)) model_ = TokenizerModel::kCharacterBpe;
}

void Vocabulary::set_default_ids(const gguf::File& file) {
  const auto set = [&](Role role, int32_t id) {
    if (contains(id)) special_[static_cast<size_t>(role)] = id;
  };
  if (model_ == TokenizerModel::kSentencePiece) {
    set(Role::kBos, 1);
    set(Role::kEos, 2);
    set(Role::kUnknown, 0);
    add_bos_ = true;
    add_space_prefix_ = true;
    has_space_symbols_ = true;
    return;
  }
  const Pretokenizer* pre = find_pretokenizer(pretokenizer_);
  add_bos_ = pre->has(kAddBos);
  has_space_symbols_ = pre->has(kSpaceSymbols);
  if (file.text(kModelKey) == kGemma4) return;
  if (!pre->has(kNoDefaultBos)) set(Role::kBos, 11);
  set(Role::kEos, 11);
}

Status Vocabulary::read_special_ids(const gguf::File& file) {
  for (const RoleInfo& info : role_table()) {
    const gguf::Value* value = file.find(info.key);
    if (!value && !info.old_key.empty()) value = file.find(info.old_key);
    if (!value) continue;
    const auto id = value->as_i64();
    if (!id && !value->as_u64()) {
      return refuse(file, "tokenizer-key", info.key, fmt::format("{} is not an integer", info.key));
    }
    if (id && *id >= 0 && static_cast<uint64_t>(*id) < size()) {
      special_[static_cast<size_t>(info.role)] = static_cast<int32_t>(*id);
    } else {
      warnings_.push_back(
          fmt::format("{} is outside the vocabulary of {} tokens; ignored", info.key, size()));
    }
  }
  return {};
}

void Vocabulary::detect_special_ids() {
  for (const RoleInfo& info : role_table()) {
    auto& id = special_[static_cast<size_t>(info.role)];
    for (size_t i = 0; i < info.texts.size() && !id; ++i) id = find(info.texts[i]);
  }
}

Status Vocabulary::read_flags(const gguf::File& file) {
  QUERN_CHECK(read_flag(file, "tokenizer.ggml.add_bos_token", add_bos_));
  QUERN_CHECK(read_flag(file, "tokenizer.ggml.add_eos_token", add_eos_));
  if (model_ == TokenizerModel::kSentencePiece) {
    QUERN_CHECK(read_flag(file, "tokenizer.ggml.add_space_prefix", add_space_prefix_));
  } else if (find_pretokenizer(pretokenizer_)->has(kForceBos)) {
    add_bos_ = true;
  }
  add_bos_ = add_bos_ && special(Role::kBos);
  add_eos_ = add_eos_ && special(Role::kEos);
  return {};
}

// Files in the wild call turn markers normal tokens; then they would not be recognised in a
// rendered chat template and would be shown to the user.
void Vocabulary::correct_types() {
  const auto make = [&](std::string_view text, TokenType type) {
    if (const auto id = find(text)) tokens_[static_cast<size_t>(*id)].type = type;
  };
  for (const RoleInfo& info : role_table()) {
    for (const std::string_view text : info.texts) make(text, TokenType::kControl);
  }
  for (const std::string_view text : end_of_generation_texts()) make(text, TokenType::kControl);
  // The channel markers of gpt-oss structure its answer, so they are shown.
  for (const std::string_view text : {"<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"}) {
    make(text, TokenType::kUserDefined);
  }
}

void Vocabulary::mark_end_of_generation() {
  const auto token = [&](std::string_view text) -> Token* {
    const auto id = find(text);
    return id ? &tokens_[static_cast<size_t>(*id)] : nullptr;
  };
  const auto ends = [&](std::string_view text) {
    const Token* t = token(text);
    return t && t->ends_generation;
  };
  for (const Role role : {Role::kEos, Role::kEot, Role::kEom, Role::kFimPad, Role::kFimRepository,
                          Role::kFimSeparator}) {
    if (const auto id = special(role)) tokens_[static_cast<size_t>(*id)].ends_generation = true;
  }
  for (const std::string_view text : end_of_generation_texts()) {
    if (Token* t = token(text)) t->ends_generation = true;
  }
  // Where other markers end the turn, <|end|> only ends a channel (gpt-oss, Solar).
  const bool calls = ends("<|call|>") || ends("<|calls|>");
  if (Token* end = token("<|end|>"); end && calls && (ends("<|return|>") || ends("<|flush|>"))) {
    end->ends_generation = false;
    end->type = TokenType::kUserDefined;
  }
  if (Token* end = token("</s>"); end && ends("<|tool_response>")) end->ends_generation = false;
}

// No key says which tokens swallow neighbouring white space; models are known by name.
void Vocabulary::set_strip_rules(const gguf::File& file) {
  const auto strip_left = [&](std::string_view text) {
    if (const auto id = find(text)) tokens_[static_cast<size_t>(*id)].strip_left = true;
  };
  const std::string_view pre = file.text(kPreKey);
  const std::string_view architecture = file.text("general.architecture");
  const std::string name = ascii_lower(file.text("general.name"));
  if (mentions(pre, "jina-v2-de") || mentions(pre, "jina-v2-es") || mentions(pre, "jina-v2-code") ||
      architecture == "nomic-bert-moe" || architecture == "jina-bert-v3") {
    strip_left("<mask>");
  }
  if (mentions(name, "modern-bert")) strip_left("[MASK]");
  if (mentions(name, "phi-3") || mentions(name, "phi3")) {
    for (Token& token : tokens_) {
      const bool exempt =
          token.text == "<unk>" || token.text == "<s>" || token.text == "<|endoftext|>";
      token.strip_right = !exempt;  // matters only for tokens that are matched in the input
    }
  }
}

}  // namespace quern::engine
