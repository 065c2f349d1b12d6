// PairMerger: the merging loop that SentencePiece and byte-level BPE share. O(n log n).
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace quern::engine {

// A stretch of the text; symbols form a doubly linked list.
struct Symbol {
  uint32_t begin = 0;  // first byte
  uint32_t size = 0;   // bytes; 0: absorbed by its left neighbour
  uint32_t id = 0;     // the algorithm's own name for it
  uint32_t previous = 0;
  uint32_t next = 0;
};

// What two neighbours would become.
struct Merge {
  uint32_t priority;  // lower merges first
  uint32_t id;        // of the merged symbol
};

class PairMerger {
 public:
  static constexpr uint32_t kEnd = UINT32_MAX;           // no neighbour
  static constexpr size_t kMostBytes = size_t{1} << 30;  // of text at once; callers cut longer ones

  void clear() { symbols_.clear(); }

  // Appends the next symbol of the text.
  void add(uint32_t begin, uint32_t size, uint32_t id) {
    const auto index = static_cast<uint32_t>(symbols_.size());
    if (index > 0) symbols_.back().next = index;
    symbols_.push_back({begin, size, id, index > 0 ? index - 1 : kEnd, kEnd});
  }

  // Merges neighbours until find(left, right) -> optional<Merge> knows none: always the pair of
  // lowest priority, of equal ones the leftmost.
  template <typename Find>
  void merge(Find find) {
    queue_.clear();
    for (uint32_t left = 0; left + 1 < symbols_.size(); ++left) offer(left, find);
    while (!queue_.empty()) {
      const Candidate candidate = queue_.front();
      std::pop_heap(queue_.begin(), queue_.end());
      queue_.pop_back();
      Symbol& left = symbols_[candidate.left];
      if (left.size == 0 || left.next == kEnd) continue;
      Symbol& right = symbols_[left.next];
      // The same left edge and the same size mean that the pair is still the one that was offered.
      if (left.size + right.size != candidate.size) continue;
      left.size = candidate.size;
      left.id = candidate.id;
      right.size = 0;
      left.next = right.next;
      if (left.next != kEnd) {
        symbols_[left.next].previous = candidate.left;
        offer(candidate.left, find);
      }
      if (left.previous != kEnd) offer(left.previous, find);
    }
  }

  // The symbols; those of size 0 are gone.
  std::span<const Symbol> symbols() const { return symbols_; }

 private:
  struct Candidate {
    uint32_t priority, left, size, id;
    // The heap's front is its greatest element.
    bool operator<(const Candidate& other) const {
      return priority != other.priority ? priority > other.priority : left > other.left;
    }
  };

  template <typename Find>
  void offer(uint32_t index, Find& find) {
    const Symbol& left = symbols_[index];
    const Symbol& right = symbols_[left.next];
    const std::optional<Merge> merge = find(left, right);
    if (!merge) return;
    queue_.push_back({merge->priority, index, left.size + right.size, merge->id});
    std::push_heap(queue_.begin(), queue_.end());
  }

  std::vector<Symbol> symbols_;
  std::vector<Candidate> queue_;
};

}  // namespace quern::engine
