#include "engine/tokenizer/byte_level_bpe.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "engine/tokenizer/byte_map.h"
#include "engine/tokenizer/word_cache.h"
#include "engine/utf8.h"

namespace quern::engine {
namespace {

constexpr std::string_view kMergesKey = "tokenizer.ggml.merges";

std::string characters_of(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) utf8::append(out, byte_to_character(static_cast<uint8_t>(c)));
  return out;
}

bool is_valid_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    if (static_cast<uint8_t>(text[i]) < 0x80) {
      ++i;
      continue;
    }
    const utf8::Character c = utf8::decode(text, i);
    if (!c.valid) return false;
    i += c.length;
  }
  return true;
}

std::string with_replacements(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const utf8::Character c = utf8::decode(text, i);
    utf8::append(out, c.code);
    i += c.length;
  }
  return out;
}

}  // namespace

MergeTable::MergeTable(size_t capacity) : slots_(bytes_for(capacity) / sizeof(Slot)) {}

size_t MergeTable::bytes_for(size_t capacity) {
  return std::bit_ceil(2 * capacity + 1) * sizeof(Slot);
}

size_t MergeTable::slot_of(uint32_t left, uint32_t right) const {
  const uint64_t key = uint64_t{left} << 32 | right;
  const uint64_t mixed =
      key * 0x9E3779B97F4A7C15U;  // Fibonacci hashing: the high bits are mixed best
  size_t slot = (mixed >> 20) & (slots_.size() - 1);
  while (slots_[slot].left != UINT32_MAX &&
         (slots_[slot].left != left || slots_[slot].right != right)) {
    slot = (slot + 1) & (slots_.size() - 1);
  }
  return slot;
}

void MergeTable::insert(uint32_t left, uint32_t right, Merge merge) {
  Slot& slot = slots_[slot_of(left, right)];
  if (slot.left == UINT32_MAX) slot = {left, right, merge};
}

std::optional<Merge> MergeTable::find(uint32_t left, uint32_t right) const {
  const Slot& slot = slots_[slot_of(left, right)];
  if (slot.left == UINT32_MAX) return std::nullopt;
  return slot.merge;
}

ByteLevelBpe::ByteLevelBpe(const Vocabulary& vocabulary, TextSplitter splitter, size_t merges)
    : vocabulary_(&vocabulary),
      splitter_(std::move(splitter)),
      ignore_merges_(find_pretokenizer(vocabulary.pretokenizer())->has(kIgnoreMerges)),
      merges_(merges) {
  for (unsigned byte = 0; byte < 256; ++byte) {
    const char self = static_cast<char>(byte);
    byte_symbols_[byte] = symbol(characters_of({&self, 1}));
  }
}

Result<ByteLevelBpe> ByteLevelBpe::from_file(const gguf::File& file, const Vocabulary& vocabulary) {
  const gguf::Value* merges = file.find(kMergesKey);
  if (!merges || merges->type() != gguf::ValueType::kArray ||
      merges->element_type() != gguf::ValueType::kString) {
    return tl::unexpected(
        vocabulary_error(file, "tokenizer-merges", kMergesKey,
                         fmt::format("{} must be an array of strings", kMergesKey)));
  }
  QUERN_TRY(TextSplitter splitter,
            TextSplitter::make(*find_pretokenizer(vocabulary.pretokenizer())));
  ByteLevelBpe bpe(vocabulary, std::move(splitter), merges->size());
  QUERN_CHECK(bpe.read_merges(file, *merges));
  return bpe;
}

Status ByteLevelBpe::read_merges(const gguf::File& file, const gguf::Value& merges) {
  std::string merged;
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const std::string_view text = merges.string_at(rank).value_or("");
    const size_t space = text.find(' ', 1);
    if (space == text.npos || space + 1 == text.size()) {
      return tl::unexpected(
          vocabulary_error(file, "tokenizer-merges", kMergesKey,
                           fmt::format("merge {} is {}, not two symbols with a space between them",
                                       rank, escape(text))));
    }
    const std::string_view left = text.substr(0, space), right = text.substr(space + 1);
    merged.assign(left).append(right);
    merges_.insert(symbol(left), symbol(right), {static_cast<uint32_t>(rank), symbol(merged)});
  }
  return {};
}

uint32_t ByteLevelBpe::symbol(std::string_view text) {
  if (const auto id = vocabulary_->find(text)) return static_cast<uint32_t>(*id);
  const auto next = static_cast<uint32_t>(vocabulary_->size() + extra_symbols_.size());
  return extra_symbols_.try_emplace(std::string(text), next).first->second;
}

void ByteLevelBpe::encode(std::string_view text, std::vector<int32_t>& ids) const {
  std::string replaced;
  if (!is_valid_utf8(text)) {
    replaced = with_replacements(text);
    text = replaced;
  }
  WordCache cache(text.size(), ids);
  PairMerger merger;
  size_t begin = 0;
  for (const size_t end : splitter_.split(text)) {
    while (begin < end) {
      const auto piece = text.substr(begin, std::min(end - begin, PairMerger::kMostBytes));
      cache.append(piece, [&] { encode_piece(piece, merger, ids); });
      begin += piece.size();
    }
  }
}

void ByteLevelBpe::encode_piece(std::string_view piece, PairMerger& merger,
                                std::vector<int32_t>& ids) const {
  if (ignore_merges_ && piece.size() <= vocabulary_->longest_text()) {
    if (const auto id = vocabulary_->find(characters_of(piece))) return ids.push_back(*id);
  }
  merger.clear();
  for (size_t i = 0; i < piece.size(); ++i) {
    merger.add(static_cast<uint32_t>(i), 1, byte_symbols_[static_cast<uint8_t>(piece[i])]);
  }
  merger.merge(
      [&](const Symbol& left, const Symbol& right) { return merges_.find(left.id, right.id); });
  for (const Symbol& symbol : merger.symbols()) {
    if (symbol.size > 0) append_symbol(piece.substr(symbol.begin, symbol.size), symbol.id, ids);
  }
}

// A symbol that is no token falls apart into its bytes; a byte that is no token is lost.
void ByteLevelBpe::append_symbol(std::string_view bytes, uint32_t symbol,
                                 std::vector<int32_t>& ids) const {
  if (symbol < vocabulary_->size()) return ids.push_back(static_cast<int32_t>(symbol));
  for (const char c : bytes) {
    const uint32_t single = byte_symbols_[static_cast<uint8_t>(c)];
    if (single < vocabulary_->size()) ids.push_back(static_cast<int32_t>(single));
  }
}

}  // namespace quern::engine
