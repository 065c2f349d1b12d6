// NameIndex: finds items by name and detects duplicates. A sorted table of positions rather than a
// hash table: names come from a file, and nobody can choose names that make sorting slow.
#pragma once

#include <algorithm>
#include <cstddef>
#include <numeric>
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
    std::iota(order_.begin(), order_.end(), size_t{0});
    std::sort(order_.begin(), order_.end(), [&](size_t a, size_t b) {
      const int order = name(a).compare(name(b));
      return order != 0 ? order < 0 : a < b;
    });
  }

  const Item* find(std::string_view wanted) const {
    const auto at = std::ranges::lower_bound(order_, wanted, {}, [&](size_t i) { return name(i); });
    return at != order_.end() && name(*at) == wanted ? &items_[*at] : nullptr;
  }

  // Positions of the first item whose name an earlier item has, and of that earlier item:
  // {earlier, later}.
  std::optional<std::pair<size_t, size_t>> duplicate() const {
    std::optional<std::pair<size_t, size_t>> first;
    for (size_t i = 1; i < order_.size(); ++i) {
      const size_t a = order_[i - 1];
      const size_t b = order_[i];
      if (name(a) == name(b) && (!first || b < first->second)) first = {a, b};
    }
    return first;
  }

 private:
  std::string_view name(size_t i) const { return items_[i].*Name; }

  std::span<const Item> items_;
  std::vector<size_t> order_;
};

}  // namespace quern::gguf
