#include "engine/tokenizer/sentence_piece.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "engine/tokenizer/normalize.h"
#include "engine/tokenizer/word_cache.h"

namespace quern::engine {
namespace {

uint8_t byte_at(std::string_view text, size_t i) { return static_cast<uint8_t>(text[i]); }

// Length of the character that begins at `position`, by its first byte alone: malformed text falls
// apart into bytes later.
size_t character_size(std::string_view text, size_t position) {
  constexpr uint8_t kSizes[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 3, 4};
  return std::min<size_t>(kSizes[byte_at(text, position) >> 4], text.size() - position);
}

// Orders floats as unsigned integers, highest score lowest.
uint32_t priority(float score) {
  const auto bits = std::bit_cast<uint32_t>(score + 0.0F);  // -0 becomes +0
  const uint32_t ascending = bits & 0x80000000U ? ~bits : bits | 0x80000000U;
  return ~ascending;
}

}  // namespace

SentencePiece::SentencePiece(const Vocabulary& vocabulary) : vocabulary_(&vocabulary) {
  for (unsigned byte = 0; byte < 256; ++byte) {
    auto& id = byte_ids_[byte];
    id = vocabulary.find(fmt::format("<0x{:02X}>", byte));
    const char self = static_cast<char>(byte);
    if (!id) id = vocabulary.find({&self, 1});
    if (!id) id = vocabulary.special(Role::kUnknown);
  }
  for (int32_t id = 0; vocabulary.contains(id); ++id) {
    const std::string_view text = vocabulary[id].text;
    for (size_t at = text.find(kSpaceSymbol, 1); at != text.npos;
         at = text.find(kSpaceSymbol, at + 1)) {
      joins_space_.set(byte_at(text, at - 1));
    }
  }
}

void SentencePiece::encode(std::string_view text, std::vector<int32_t>& ids) const {
  if (text.empty()) return;
  const std::string spaced = with_space_symbols(text, vocabulary_->add_space_prefix());
  const std::string_view all = spaced;
  WordCache cache(all.size(), ids);
  PairMerger merger;
  for (size_t begin = 0; begin < all.size();) {
    const size_t end = word_end(all, begin);
    const std::string_view word = all.substr(begin, end - begin);
    cache.append(word, [&] { encode_word(word, merger, ids); });
    begin = end;
  }
}

// The algorithm merges over the whole text; but where no token contains the byte before a space
// symbol together with that symbol, nothing can merge across, so the words are independent.
size_t SentencePiece::word_end(std::string_view text, size_t begin) const {
  size_t i = begin + character_size(text, begin);
  while (i < text.size() && i - begin < PairMerger::kMostBytes) {
    const size_t size = character_size(text, i);
    if (text.substr(i, size) == kSpaceSymbol && !joins_space_[byte_at(text, i - 1)]) break;
    i += size;
  }
  return i;
}

void SentencePiece::encode_word(std::string_view word, PairMerger& merger,
                                std::vector<int32_t>& ids) const {
  merger.clear();
  for (size_t i = 0; i < word.size();) {
    const size_t size = character_size(word, i);
    merger.add(static_cast<uint32_t>(i), static_cast<uint32_t>(size), 0);
    i += size;
  }
  merger.merge([&](const Symbol& left, const Symbol& right) -> std::optional<Merge> {
    const size_t size = size_t{left.size} + right.size;
    if (size > vocabulary_->longest_text()) return std::nullopt;
    const auto id = vocabulary_->find(word.substr(left.begin, size));
    if (!id) return std::nullopt;
    return Merge{priority((*vocabulary_)[*id].score), static_cast<uint32_t>(*id)};
  });
  for (const Symbol& symbol : merger.symbols()) {
    if (symbol.size == 0) continue;
    const std::string_view text = word.substr(symbol.begin, symbol.size);
    if (const auto id = vocabulary_->find(text)) {
      ids.push_back(*id);
      continue;
    }
    for (const char c : text) {
      if (const auto id = byte_ids_[static_cast<uint8_t>(c)]) ids.push_back(*id);
    }
  }
}

}  // namespace quern::engine
