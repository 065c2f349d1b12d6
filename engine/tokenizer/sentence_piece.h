// SentencePiece: `llama` vocabularies. Characters merge into tokens by score; what is no token
// becomes bytes.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "engine/tokenizer/pair_merger.h"
#include "engine/tokenizer/vocabulary.h"

namespace quern::engine {

class SentencePiece {
 public:
  // `vocabulary` must outlive this.
  explicit SentencePiece(const Vocabulary& vocabulary);

  // Appends the ids of `text`, which contains no special tokens. Any bytes are allowed.
  void encode(std::string_view text, std::vector<int32_t>& ids) const;

 private:
  size_t word_end(std::string_view text, size_t begin) const;
  void encode_word(std::string_view word, PairMerger& merger, std::vector<int32_t>& ids) const;

  const Vocabulary* vocabulary_;
  std::array<std::optional<int32_t>, 256> byte_ids_;
  // Bytes that stand before a space symbol inside some token: no word can be cut off there.
  std::bitset<256> joins_space_;
};

}  // namespace quern::engine
