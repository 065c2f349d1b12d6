// TextIndex: from token texts to ids. Most lookups of the tokenizers fail, so it is an open hash
// table that keeps part of each hash: a failing lookup rarely leaves one cache line.
#pragma once

#include <bit>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

namespace quern::engine {

class TextIndex {
 public:
  explicit TextIndex(size_t capacity = 0) : slots_(slots_for(capacity)) {}

  // Memory that an index of this capacity takes.
  static size_t bytes_for(size_t capacity) { return slots_for(capacity) * sizeof(Slot); }

  // `text_of(id)` gives the text of an id that was inserted. A text that is already there gets the
  // new id. At most `capacity` different texts.
  template <typename TextOf>
  void insert(std::string_view text, int32_t id, TextOf text_of) {
    const size_t hash = std::hash<std::string_view>()(text);
    slots_[slot_of(text, hash, text_of)] = {static_cast<uint32_t>(hash >> 32), id};
  }

  template <typename TextOf>
  std::optional<int32_t> find(std::string_view text, TextOf text_of) const {
    const Slot& slot = slots_[slot_of(text, std::hash<std::string_view>()(text), text_of)];
    if (slot.id < 0) return std::nullopt;
    return slot.id;
  }

 private:
  static size_t slots_for(size_t capacity) { return std::bit_ceil(2 * capacity + 1); }

  struct Slot {
    uint32_t hash = 0;  // its high half; the low half chose the slot
    int32_t id = -1;    // -1: empty
  };

  template <typename TextOf>
  size_t slot_of(std::string_view text, size_t hash, TextOf text_of) const {
    const auto high = static_cast<uint32_t>(hash >> 32);
    size_t i = hash & (slots_.size() - 1);
    while (slots_[i].id >= 0 && (slots_[i].hash != high || text_of(slots_[i].id) != text)) {
      i = (i + 1) & (slots_.size() - 1);
    }
    return i;
  }

  std::vector<Slot> slots_;  // a power of two, at most half of them used
};

}  // namespace quern::engine
