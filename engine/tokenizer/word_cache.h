// WordCache: the ids of words that the same text has contained before. Natural text repeats its
// words, so most need no merging. It lives for one call, so nothing is shared between threads.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <string_view>
#include <vector>

namespace quern::engine {

class WordCache {
 public:
  // For a text of `text_size` bytes whose ids are appended to `ids`.
  WordCache(size_t text_size, std::vector<int32_t>& ids)
      : ids_(ids), slots_(std::bit_ceil(std::clamp<size_t>(text_size / 8, 1, kMostSlots))) {}

  // Appends the ids of `word`: copied if it was here before, else those that encode() appends.
  // `word` must stay valid as long as the cache.
  template <typename Encode>
  void append(std::string_view word, Encode encode) {
    if (word.size() > kLongestWord) return encode();
    Slot& slot = slots_[std::hash<std::string_view>()(word) & (slots_.size() - 1)];
    const size_t begin = ids_.size();
    if (slot.word == word && !word.empty()) {
      ids_.resize(begin + slot.count);
      std::copy_n(ids_.begin() + static_cast<ptrdiff_t>(slot.begin), slot.count,
                  ids_.begin() + static_cast<ptrdiff_t>(begin));
    } else {
      encode();
      slot = {word, begin, ids_.size() - begin};
    }
  }

 private:
  static constexpr size_t kMostSlots = 16384;
  static constexpr size_t kLongestWord = 64;  // bytes; longer ones rarely repeat

  struct Slot {
    std::string_view word;
    size_t begin = 0;  // of its ids in ids_
    size_t count = 0;
  };

  std::vector<int32_t>& ids_;
  std::vector<Slot> slots_;  // one place per hash; a newcomer replaces the word that was there
};

}  // namespace quern::engine
