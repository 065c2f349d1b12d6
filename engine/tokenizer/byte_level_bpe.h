// ByteLevelBpe: `gpt2` vocabularies. Text is cut into pieces, the bytes of a piece merge by rank.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/tokenizer/pair_merger.h"
#include "engine/tokenizer/pretokenizer.h"
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

class ByteLevelBpe {
 public:
  // `vocabulary` must outlive the result. Errors: "tokenizer-merges".
  static Result<ByteLevelBpe> from_file(const gguf::File& file, const Vocabulary& vocabulary);

  // Appends the ids of `text`, which contains no special tokens. Malformed UTF-8 is read as U+FFFD.
  void encode(std::string_view text, std::vector<int32_t>& ids) const;

 private:
  ByteLevelBpe(const Vocabulary& vocabulary, TextSplitter splitter, size_t merges);
  Status read_merges(const gguf::File& file, const gguf::Value& merges);
  uint32_t symbol(std::string_view text);
  void encode_piece(std::string_view piece, PairMerger& merger, std::vector<int32_t>& ids) const;
  void append_symbol(std::string_view bytes, uint32_t symbol, std::vector<int32_t>& ids) const;

  const Vocabulary* vocabulary_;
  TextSplitter splitter_;
  bool ignore_merges_;
  // Symbols are token ids; a text that occurs in a merge but is no token gets a number above them.
  std::unordered_map<std::string, uint32_t> extra_symbols_;
  std::array<uint32_t, 256> byte_symbols_ = {};
  MergeTable merges_;
};

}  // namespace quern::engine
