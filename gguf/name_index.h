// NameIndex: finds items by name and detects duplicates. A table sorted by hash rather than a hash
// table: names come from a file, and names chosen to collide cost a comparison, not a long search.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace quern::gguf {

// Indexes `items` by the member `Name`; the items must stay where they are.
template <typename Item, std::string_view Item::*Name>
class NameIndex {
 public:
  NameIndex() = default;
  explicit NameIndex(std::span<const Item> items) : items_(items), order_(items.size()) {
    for (size_t i = 0; i < items.size(); ++i) order_[i] = {hash(name(i)), i};
    std::ranges::sort(order_, [&](const Entry& a, const Entry& b) {
      if (a.hash != b.hash) return a.hash < b.hash;
      const int order = name(a.position).compare(name(b.position));
      return order != 0 ? order < 0 : a.position < b.position;
    });
  }

  const Item* find(std::string_view wanted) const {
    const uint64_t key = hash(wanted);
    const auto at = std::ranges::partition_point(order_, [&](const Entry& entry) {
      return entry.hash != key ? entry.hash < key : name(entry.position) < wanted;
    });
    return at != order_.end() && name(at->position) == wanted ? &items_[at->position] : nullptr;
  }

  // Positions of the first item whose name an earlier item has, and of that earlier item:
  // {earlier, later}.
  std::optional<std::pair<size_t, size_t>> duplicate() const {
    std::optional<std::pair<size_t, size_t>> first;
    for (size_t i = 1; i < order_.size(); ++i) {
      const Entry& a = order_[i - 1];
      const Entry& b = order_[i];
      if (a.hash != b.hash || name(a.position) != name(b.position)) continue;
      if (!first || b.position < first->second) first = {a.position, b.position};
    }
    return first;
  }

 private:
  struct Entry {
    uint64_t hash;
    size_t position;
  };

  static uint64_t hash(std::string_view text) { return std::hash<std::string_view>()(text); }
  std::string_view name(size_t i) const { return items_[i].*Name; }

  std::span<const Item> items_;
  std::vector<Entry> order_;
};

}  // namespace quern::gguf
