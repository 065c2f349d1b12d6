// Checks where the tensor data lies: inside the file, no two tensors in the same bytes.
#include <algorithm>
#include <limits>
#include <numeric>
#include <vector>

#include "gguf/checked.h"
#include "gguf/part.h"

namespace quern::gguf {
namespace {

class Layout {
 public:
  Layout(const Cursor& cursor, Part& part)
      : cursor_(cursor), part_(part), end_(cursor.position()) {}

  Status run() {
    if (!part_.placements.empty()) {
      QUERN_CHECK(find_start());
      QUERN_CHECK(check_bounds());
      QUERN_CHECK(check_overlap());
      warn_about_order();
      bind();
    }
    warn_about_trailing_bytes();
    return {};
  }

 private:
  Status find_start();
  Status check_bounds();
  Status check_overlap();
  void warn_about_order();
  void bind();
  void warn_about_trailing_bytes();

  // First byte and end of a tensor in the file; the sums saturate, so that a position beyond the
  // end of the file stays beyond it.
  uint64_t begin(const Placement& p) const {
    return checked_add(start_, p.offset).value_or(std::numeric_limits<uint64_t>::max());
  }
  uint64_t end(const Placement& p) const {
    return checked_add(begin(p), p.size).value_or(std::numeric_limits<uint64_t>::max());
  }

  const Cursor& cursor_;
  Part& part_;
  uint64_t start_ = 0;  // of the tensor data
  uint64_t end_;        // of what is used
};

Status Layout::find_start() {
  const auto start = checked_align_up(cursor_.position(), part_.alignment);
  if (start && *start <= cursor_.size()) {
    start_ = *start;
    return {};
  }
  const std::string found = start ? std::to_string(*start) : "beyond 2^64";
  const std::string size = std::to_string(cursor_.size());
  return cursor_.fail({"data-start",
                       {"tensor data"},
                       cursor_.position(),
                       found,
                       "at most " + size,
                       "file ends before the tensor data: data would start at " + found +
                           ", file has " + size + " bytes"});
}

Status Layout::check_bounds() {
  const auto outside = [&](const Placement& p) { return end(p) > cursor_.size(); };
  const auto first = std::ranges::find_if(part_.placements, outside);
  if (first == part_.placements.end()) return {};
  const auto more = std::count_if(first + 1, part_.placements.end(), outside);
  const std::string range = std::to_string(begin(*first)) + " to " + std::to_string(end(*first));
  const std::string size = std::to_string(cursor_.size());
  std::string message = "tensor " + escape(first->name) + ": bytes " + range +
                        " lie beyond the end of the file (" + size +
                        " bytes); the file is truncated or corrupt";
  if (more > 0) message += ", as are " + std::to_string(more) + " more tensors";
  return cursor_.fail({"data-bounds",
                       {"offset of tensor", {}, first->name},
                       first->position,
                       "bytes " + range,
                       "at most " + size,
                       message});
}

Status Layout::check_overlap() {
  const auto& all = part_.placements;
  std::vector<size_t> order(all.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::sort(order, {}, [&](size_t i) { return std::pair(all[i].offset, i); });
  for (size_t i = 1; i < order.size(); ++i) {
    const Placement& a = all[order[i - 1]];
    const Placement& b = all[order[i]];
    if (end(a) <= begin(b)) continue;
    const std::string range =
        std::to_string(begin(b)) + " to " + std::to_string(std::min(end(a), end(b)));
    return cursor_.fail(
        {"data-overlap",
         {"offset of tensor", {}, b.name},
         b.position,
         std::to_string(b.offset),
         "at least " + std::to_string(a.offset + a.size),
         "tensors " + escape(a.name) + " and " + escape(b.name) + " overlap in bytes " + range});
  }
  end_ = end(all[order.back()]);
  return {};
}

void Layout::warn_about_order() {
  uint64_t expected = 0;
  for (const Placement& p : part_.placements) {
    if (p.offset != expected) {
      part_.warnings.push_back("tensor " + escape(p.name) + ": stored at " +
                               std::to_string(p.offset) + ", expected " + std::to_string(expected) +
                               ": gap or unusual order");
      return;
    }
    // Inside the file by now, so nothing overflows.
    expected = *checked_align_up(p.offset + p.size, part_.alignment);
  }
}

void Layout::bind() {
  size_t tensor = 0, number = 0;
  for (const Placement& p : part_.placements) {
    auto& bytes =
        p.is_number ? part_.number_tensors[number++].bytes : part_.tensors[tensor++].bytes;
    bytes = part_.contents.bytes().subspan(begin(p), p.size);
  }
}

void Layout::warn_about_trailing_bytes() {
  const uint64_t unused = cursor_.size() - end_;
  if (unused > part_.alignment) {
    part_.warnings.push_back(std::to_string(unused) + " unused bytes after the tensor data");
  }
}

}  // namespace

Status place_tensors(const Cursor& cursor, Part& part) { return Layout(cursor, part).run(); }

}  // namespace quern::gguf
