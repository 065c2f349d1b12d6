// ByteLevelBpe: `gpt2` vocabularies. Text is cut into pieces, the bytes of a piece merge by rank.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "engine/tokenizer/merge_rules.h"
#include "engine/tokenizer/pair_merger.h"
#include "engine/tokenizer/pretokenizer.h"
#include "engine/tokenizer/vocabulary.h"
#include "gguf/file.h"
#include "gguf/result.h"

namespace quern::engine {

class ByteLevelBpe {
 public:
  // `vocabulary` must outlive the result. Errors: "tokenizer-merges".
  static Result<ByteLevelBpe> from_file(const gguf::File& file, const Vocabulary& vocabulary);

  // Appends the ids of `text`, which contains no special tokens. Malformed UTF-8 is read as U+FFFD.
  void encode(std::string_view text, std::vector<int32_t>& ids) const;

 private:
  ByteLevelBpe(const Vocabulary& vocabulary, TextSplitter splitter, MergeRules rules);
  void encode_piece(std::string_view piece, PairMerger& merger, std::vector<int32_t>& ids) const;
  void append_symbol(std::string_view bytes, uint32_t symbol, std::vector<int32_t>& ids) const;

  const Vocabulary* vocabulary_;
  TextSplitter splitter_;
  bool ignore_merges_;
  std::array<uint32_t, 256> byte_symbols_ = {};
  MergeRules rules_;
};

}  // namespace quern::engine
