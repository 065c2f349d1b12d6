// Finds special tokens in input text: longer tokens first, wherever they stand.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "engine/tokenizer/vocabulary.h"

namespace quern::engine {

// A stretch [begin, end) of the input: one special token, or text still to be tokenized (id < 0).
struct Fragment {
  size_t begin = 0;
  size_t end = 0;
  int32_t id = -1;
};

// An Aho-Corasick automaton over the reversed token texts: one pass from the end of the input
// finds, for every position, all tokens that start there (Aho and Corasick, 1975). Time and memory
// are linear in the texts; the vocabulary size does not matter for the scan.
class SpecialTokens {
 public:
  // Matches user-defined tokens, and with `control` also control and unknown tokens.
  SpecialTokens(const Vocabulary& vocabulary, bool control);

  // Cuts `text` into fragments, in order, none empty; white space that a token strips is left out.
  // The longest token of the whole text is placed first, then the next longest into what remains;
  // of equally long ones the lower id, of the same token the leftmost occurrence.
  std::vector<Fragment> split(std::string_view text) const;

 private:
  struct Node {
    uint32_t first_child = 0;  // 0: none (the root is nobody's child)
    uint32_t next_sibling = 0;
    uint32_t fallback = 0;  // longest proper suffix of this node that is a node
    uint32_t shorter = 0;   // nearest node on the fallback chain that ends a token; 0: none
    int32_t id = -1;        // token whose reversed text ends here
    uint8_t byte = 0;
  };
  struct Match;
  class Placement;

  uint32_t child(uint32_t node, uint8_t byte) const;
  uint32_t step(uint32_t node, uint8_t byte) const;
  void insert(std::string_view text, int32_t id);
  void link();
  std::vector<Match> matches(std::string_view text) const;
  Match match_at(size_t begin, uint32_t node) const;

  const Vocabulary* vocabulary_;
  std::vector<Node> nodes_;               // [0] is the root
  std::array<uint32_t, 256> first_ = {};  // the root's children by byte: most text never leaves it
};

}  // namespace quern::engine
