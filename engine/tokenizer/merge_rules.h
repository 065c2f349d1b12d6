// MergeRules: the merges of a BPE vocabulary: which two symbols become one, and which pair first.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/tokenizer/pair_merger.h"
#include "engine/tokenizer/vocabulary.h"
#include "gguf/file.h"
#include "gguf/result.h"

namespace quern::engine {

// Pairs of symbols and what they become: an open hash table, the first entry of a pair stays.
class MergeTable {
 public:
  explicit MergeTable(size_t capacity);
  static size_t bytes_for(size_t capacity);  // memory that a table of this capacity takes
  void insert(uint32_t left, uint32_t right, Merge merge);
  std::optional<Merge> find(uint32_t left, uint32_t right) const;

 private:
  struct Slot {
    uint32_t left = UINT32_MAX;  // UINT32_MAX: empty
    uint32_t right = 0;
    Merge merge = {};
  };
  size_t slot_of(uint32_t left, uint32_t right) const;
  std::vector<Slot> slots_;  // a power of two, at most half of them used
};

// Symbols are token ids; a text that occurs in a merge but is no token gets a number above them.
class MergeRules {
 public:
  // Reads `tokenizer.ggml.merges`; `vocabulary` must outlive the result. Errors:
  // "tokenizer-merges".
  static Result<MergeRules> from_file(const gguf::File& file, const Vocabulary& vocabulary);

  static constexpr uint32_t kNoSymbol = UINT32_MAX;  // merges with nothing

  uint32_t find_symbol(std::string_view text) const;  // kNoSymbol if no token and no merge has it
  std::optional<int32_t> token_of(uint32_t symbol) const;  // nullopt if the symbol is no token
  std::optional<Merge> find(const Symbol& left, const Symbol& right) const {
    return table_.find(left.id, right.id);
  }

 private:
  MergeRules(const Vocabulary& vocabulary, size_t merges)
      : vocabulary_(&vocabulary), table_(merges) {}
  uint32_t add_symbol(std::string_view text);

  const Vocabulary* vocabulary_;
  std::unordered_map<std::string, uint32_t> extra_symbols_;
  MergeTable table_;
};

}  // namespace quern::engine
