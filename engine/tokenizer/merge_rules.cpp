#include "engine/tokenizer/merge_rules.h"

#include <fmt/format.h>

#include <bit>

namespace quern::engine {
namespace {

constexpr std::string_view kMergesKey = "tokenizer.ggml.merges";

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

Result<MergeRules> MergeRules::from_file(const gguf::File& file, const Vocabulary& vocabulary) {
  const gguf::Value* merges = file.find(kMergesKey);
  if (!merges || merges->type() != gguf::ValueType::kArray ||
      merges->element_type() != gguf::ValueType::kString) {
    return tl::unexpected(
        vocabulary_error(file, "tokenizer-merges", kMergesKey,
                         fmt::format("{} must be an array of strings", kMergesKey)));
  }
  MergeRules rules(vocabulary, merges->size());
  std::string merged;
  for (size_t rank = 0; rank < merges->size(); ++rank) {
    const std::string_view text = merges->string_at(rank).value_or("");
    const size_t space = text.find(' ', 1);
    if (space == text.npos || space + 1 == text.size()) {
      return tl::unexpected(
          vocabulary_error(file, "tokenizer-merges", kMergesKey,
                           fmt::format("merge {} is {}, not two symbols with a space between them",
                                       rank, escape(text))));
    }
    const std::string_view left = text.substr(0, space), right = text.substr(space + 1);
    merged.assign(left).append(right);
    rules.table_.insert(rules.add_symbol(left), rules.add_symbol(right),
                        {static_cast<uint32_t>(rank), rules.add_symbol(merged)});
  }
  return rules;
}

uint32_t MergeRules::find_symbol(std::string_view text) const {
  if (const auto id = vocabulary_->find(text)) return static_cast<uint32_t>(*id);
  const auto extra = extra_symbols_.find(std::string(text));
  return extra == extra_symbols_.end() ? kNoSymbol : extra->second;
}

std::optional<int32_t> MergeRules::token_of(uint32_t symbol) const {
  if (symbol >= vocabulary_->size()) return std::nullopt;
  return static_cast<int32_t>(symbol);
}

uint32_t MergeRules::add_symbol(std::string_view text) {
  if (const auto id = vocabulary_->find(text)) return static_cast<uint32_t>(*id);
  const auto next = static_cast<uint32_t>(vocabulary_->size() + extra_symbols_.size());
  return extra_symbols_.try_emplace(std::string(text), next).first->second;
}

}  // namespace quern::engine
