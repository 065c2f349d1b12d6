// CharacterBpe: vocabularies whose tokens are text (Gemma 4 and relatives). Text is cut into
// pieces, the characters of a piece merge by rank; what is no token becomes bytes.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "engine/tokenizer/merge_rules.h"
#include "engine/tokenizer/pair_merger.h"
#include "engine/tokenizer/pretokenizer.h"
#include "engine/tokenizer/vocabulary.h"
#include "gguf/file.h"
#include "gguf/result.h"

namespace quern::engine {

class CharacterBpe {
 public:
  // `vocabulary` must outlive the result. Errors: "tokenizer-merges".
  static Result<CharacterBpe> from_file(const gguf::File& file, const Vocabulary& vocabulary);

  // Appends the ids of `text`, which contains no special tokens. Malformed UTF-8 is read as U+FFFD.
  void encode(std::string_view text, std::vector<int32_t>& ids) const;

 private:
  CharacterBpe(const Vocabulary& vocabulary, TextSplitter splitter, MergeRules rules);
  void encode_piece(std::string_view piece, PairMerger& merger, std::vector<int32_t>& ids) const;

  const Vocabulary* vocabulary_;
  TextSplitter splitter_;
  bool whole_line_ends_;
  MergeRules rules_;
  std::array<std::optional<int32_t>, 256> byte_ids_;  // of the tokens <0xHH>
};

}  // namespace quern::engine
