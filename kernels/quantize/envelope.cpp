#include "kernels/quantize/envelope.h"

#include <algorithm>
#include <limits>

namespace quern::kernels::quantize {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

}  // namespace

Envelope::Envelope(std::vector<Line> lines) {
  std::ranges::sort(
      lines, [](const Line& a, const Line& b) { return a.q != b.q ? a.q > b.q : a.p > b.p; });
  pieces_.reserve(lines.size());
  for (const Line& line : lines) push(line);
}

// Lines come by falling q; of equal ones the largest p first.
void Envelope::push(const Line& line) {
  float from = -kInfinity;
  while (!pieces_.empty()) {
    const Piece& last = pieces_.back();
    if (line.q == last.line.q) return;
    from = crossing(last.line, line);
    if (from > last.from) break;
    pieces_.pop_back();
    from = -kInfinity;
  }
  pieces_.push_back({from, line});
}

const Line& Envelope::at(float t) const {
  const auto later =
      std::ranges::partition_point(pieces_, [&](const Piece& piece) { return piece.from <= t; });
  return later == pieces_.begin() ? pieces_.front().line : std::prev(later)->line;
}

float Envelope::best_scale() const {
  float best = 0, best_gain = 0;
  for (const Piece& piece : pieces_) {
    const float scale = std::max(piece.line.best_scale(), 0.0f);
    if (piece.line.gain(scale) > best_gain) {
      best_gain = piece.line.gain(scale);
      best = scale;
    }
  }
  return best;
}

Envelope sum(const Envelope& a, const Envelope& b) {
  Envelope result;
  result.pieces_.reserve(a.pieces_.size() + b.pieces_.size());
  size_t i = 0, j = 0;
  float from = -kInfinity;
  while (true) {
    const Line &x = a.pieces_[i].line, &y = b.pieces_[j].line;
    result.pieces_.push_back({from, {x.p + y.p, x.q + y.q}});
    const float next_a = i + 1 < a.pieces_.size() ? a.pieces_[i + 1].from : kInfinity;
    const float next_b = j + 1 < b.pieces_.size() ? b.pieces_[j + 1].from : kInfinity;
    from = std::min(next_a, next_b);
    if (!(from < kInfinity)) return result;
    i += next_a == from;
    j += next_b == from;
  }
}

Envelope maximum(const Envelope& a, const Envelope& b) {
  std::vector<Line> lines;
  lines.reserve(a.pieces_.size() + b.pieces_.size());
  for (const Envelope* envelope : {&a, &b}) {
    for (const Envelope::Piece& piece : envelope->pieces_) lines.push_back(piece.line);
  }
  return Envelope(std::move(lines));
}

}  // namespace quern::kernels::quantize
