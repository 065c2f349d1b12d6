// What tokenizers with merges share: a text is cut into pieces, and equal pieces are encoded once.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <vector>

#include "engine/tokenizer/pair_merger.h"
#include "engine/tokenizer/pretokenizer.h"
#include "engine/tokenizer/word_cache.h"

namespace quern::engine {

// Appends the ids of `text`: encode(piece, merger) appends those of a piece of at most
// PairMerger::kMostBytes bytes to `ids`.
template <class Encode>
void encode_pieces(const TextSplitter& splitter, std::string_view text, std::vector<int32_t>& ids,
                   const Encode& encode) {
  WordCache cache(text.size(), ids);
  PairMerger merger;
  size_t begin = 0;
  for (const size_t end : splitter.split(text)) {
    while (begin < end) {
      const auto piece = text.substr(begin, std::min(end - begin, PairMerger::kMostBytes));
      cache.append(piece, [&] { encode(piece, merger); });
      begin += piece.size();
    }
  }
}

}  // namespace quern::engine
