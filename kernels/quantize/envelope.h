// The best of several choices at every scale. A choice at scale t lowers the squared error by
// t * (2p - t*q), so that the best ones are the upper envelope of the lines 2p - t*q: each is best
// on one interval, and q falls from one to the next.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace quern::kernels::quantize {

struct Line {
  float p = 0, q = 0;
  uint16_t entry = 0;  // of a codebook, if it is the line of one

  float value(float t) const { return 2 * p - t * q; }
  float gain(float t) const { return t * value(t); }
  float best_scale() const { return q > 0 ? p / q : 0.0f; }
};

// The scale from which on `b`, whose q is smaller, is better than `a`.
inline float crossing(const Line& a, const Line& b) { return 2 * (a.p - b.p) / (a.q - b.q); }

class Envelope {
 public:
  Envelope() = default;
  // Of any lines, at least one.
  explicit Envelope(std::vector<Line> lines);

  // The line that is best at a scale.
  const Line& at(float t) const;
  // The scale with the largest gain; 0 if none is above 0.
  float best_scale() const;

  // One choice from each of both; and a choice from either.
  friend Envelope sum(const Envelope& a, const Envelope& b);
  friend Envelope maximum(const Envelope& a, const Envelope& b);

 private:
  struct Piece {
    float from;  // the scale from which on this line is best
    Line line;
  };
  void push(const Line& line);
  std::vector<Piece> pieces_;
};

}  // namespace quern::kernels::quantize
