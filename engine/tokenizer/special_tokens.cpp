#include "engine/tokenizer/special_tokens.h"

#include <algorithm>
#include <queue>

namespace quern::engine {
namespace {

// White space as a C locale knows it.
bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

}  // namespace

// A token that could be placed at `begin`.
struct SpecialTokens::Match {
  size_t begin;
  size_t length;
  int32_t id;
  uint32_t node;

  // For a priority queue, which returns its greatest element: longest, then lowest id, then
  // leftmost.
  bool operator<(const Match& other) const {
    if (length != other.length) return length < other.length;
    if (id != other.id) return id > other.id;
    return begin > other.begin;
  }
};

// What has been placed so far.
class SpecialTokens::Placement {
 public:
  Placement(std::string_view text, const Vocabulary& vocabulary)
      : text_(text), vocabulary_(vocabulary), taken_(text.size()) {}

  bool taken(size_t position) const { return taken_[position]; }

  void place(const Match& match) {
    size_t begin = match.begin, end = match.begin + match.length;
    const Token& token = vocabulary_[match.id];
    while (token.strip_left && begin > 0 && !taken_[begin - 1] && is_space(text_[begin - 1])) {
      --begin;
    }
    while (token.strip_right && end < text_.size() && !taken_[end] && is_space(text_[end])) ++end;
    std::fill(taken_.begin() + static_cast<ptrdiff_t>(begin),
              taken_.begin() + static_cast<ptrdiff_t>(end), true);
    placed_.push_back({begin, end, match.id});
  }

  // The placed tokens and the text between them.
  std::vector<Fragment> fragments() {
    std::sort(placed_.begin(), placed_.end(),
              [](const Fragment& a, const Fragment& b) { return a.begin < b.begin; });
    std::vector<Fragment> out;
    size_t position = 0;
    for (const Fragment& token : placed_) {
      if (position < token.begin) out.push_back({position, token.begin, -1});
      out.push_back(token);
      position = token.end;
    }
    if (position < text_.size()) out.push_back({position, text_.size(), -1});
    return out;
  }

 private:
  std::string_view text_;
  const Vocabulary& vocabulary_;
  std::vector<bool> taken_;
  std::vector<Fragment> placed_;
};

SpecialTokens::SpecialTokens(const Vocabulary& vocabulary, bool control)
    : vocabulary_(&vocabulary), nodes_(1) {
  for (int32_t id = 0; vocabulary.contains(id); ++id) {
    const Token& token = vocabulary[id];
    const bool steering = token.type == TokenType::kControl || token.type == TokenType::kUnknown;
    if (token.type == TokenType::kUserDefined || (control && steering)) insert(token.text, id);
  }
  link();
}

uint32_t SpecialTokens::child(uint32_t node, uint8_t byte) const {
  if (node == 0) return first_[byte];
  uint32_t found = nodes_[node].first_child;
  while (found != 0 && nodes_[found].byte != byte) found = nodes_[found].next_sibling;
  return found;
}

uint32_t SpecialTokens::step(uint32_t node, uint8_t byte) const {
  for (;; node = nodes_[node].fallback) {
    if (const uint32_t next = child(node, byte)) return next;
    if (node == 0) return 0;
  }
}

void SpecialTokens::insert(std::string_view text, int32_t id) {
  uint32_t node = 0;
  for (auto c = text.rbegin(); c != text.rend(); ++c) {
    const auto byte = static_cast<uint8_t>(*c);
    uint32_t next = child(node, byte);
    if (next == 0) {
      next = static_cast<uint32_t>(nodes_.size());
      nodes_.push_back({0, nodes_[node].first_child, 0, 0, -1, byte});
      nodes_[node].first_child = next;
      if (node == 0) first_[byte] = next;
    }
    node = next;
  }
  nodes_[node].id = id;
}

// Breadth first, so that the fallback of every shorter node is known.
void SpecialTokens::link() {
  std::vector<uint32_t> order = {0};
  order.reserve(nodes_.size());
  for (size_t i = 0; i < order.size(); ++i) {
    const uint32_t parent = order[i];
    for (uint32_t c = nodes_[parent].first_child; c != 0; c = nodes_[c].next_sibling) {
      order.push_back(c);
      if (parent != 0) nodes_[c].fallback = step(nodes_[parent].fallback, nodes_[c].byte);
      const Node& fallback = nodes_[nodes_[c].fallback];
      nodes_[c].shorter = fallback.id >= 0 ? nodes_[c].fallback : fallback.shorter;
    }
  }
}

SpecialTokens::Match SpecialTokens::match_at(size_t begin, uint32_t node) const {
  const int32_t id = nodes_[node].id;
  return {begin, (*vocabulary_)[id].text.size(), id, node};
}

// The longest token at every position where one starts.
std::vector<SpecialTokens::Match> SpecialTokens::matches(std::string_view text) const {
  std::vector<Match> out;
  uint32_t node = 0;
  for (size_t i = text.size(); i-- > 0;) {
    node = step(node, static_cast<uint8_t>(text[i]));
    const uint32_t last = nodes_[node].id >= 0 ? node : nodes_[node].shorter;
    if (last != 0) out.push_back(match_at(i, last));
  }
  return out;
}

std::vector<Fragment> SpecialTokens::split(std::string_view text) const {
  if (text.empty()) return {};
  std::vector<Match> found;
  if (nodes_.size() > 1) found = matches(text);
  if (found.empty()) return {{0, text.size(), -1}};

  Placement placement(text, *vocabulary_);
  std::priority_queue<Match> queue({}, std::move(found));
  while (!queue.empty()) {
    const Match match = queue.top();
    queue.pop();
    if (placement.taken(match.begin)) continue;
    // Everything placed so far is at least as long as this match, so an overlap shows at its ends.
    if (!placement.taken(match.begin + match.length - 1)) {
      placement.place(match);
    } else if (const uint32_t shorter = nodes_[match.node].shorter) {
      queue.push(match_at(match.begin, shorter));
    }
  }
  return placement.fragments();
}

}  // namespace quern::engine
