#include "kernels/quantize/codebook_search.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/quantize/clones.h"
#include "kernels/quantize/least_squares.h"

namespace quern::kernels::quantize {
namespace {

// Scales of a group that are looked at, as parts of its size, and how close two of them may be.
constexpr float kLow = 0.35f, kHigh = 2.85f, kClose = 1.15f;
constexpr size_t kStarts = 6;  // first guesses of d
constexpr size_t kMaxEntries = 2048;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The compiler's own vectors: what a clone has no registers for becomes several smaller ones.
using Floats = float __attribute__((vector_size(64)));
using Masks = int32_t __attribute__((vector_size(64)));
static_assert(sizeof(Floats) == kLanes * sizeof(float));

// The lines of all entries, as columns; `count` is a multiple of kLanes.
struct Lines {
  alignas(64) std::array<float, kMaxEntries> p, q;
  size_t count;

  Line at(size_t i) const { return {p[i], q[i], static_cast<uint16_t>(i)}; }
};

// values: [run][entries].
QUERN_CLONES void make_lines(const float* values, size_t run, const float* a, const float* w,
                             float shift, bool flip, Lines& lines) {
  const size_t entries = lines.count;
  std::fill_n(lines.p.begin(), entries, 0.0f);
  std::fill_n(lines.q.begin(), entries, 0.0f);
  for (size_t j = 0; j < run; ++j) {
    for (size_t e = 0; e < entries; ++e) {
      const float g = values[j * entries + e] + shift;
      lines.p[e] += a[j] * g;
      lines.q[e] += w[j] * g * g;
    }
  }
  if (!flip) return;
  for (size_t e = 0; e < entries; ++e) {
    float least = a[0] * values[e];
    for (size_t j = 1; j < run; ++j) least = std::min(least, a[j] * values[j * entries + e]);
    lines.p[e] -= 2 * least;
  }
}

// What 16 lines from `first` on are worth at a scale.
[[gnu::always_inline]] inline void values_at(const Lines& lines, size_t first, float scale,
                                             Floats& out) {
  Floats p, q;
  std::memcpy(&p, &lines.p[first], sizeof p);
  std::memcpy(&q, &lines.q[first], sizeof q);
  out = 2 * p - scale * q;
}

// The index of the line that is best at a scale; of equal ones the first of the first lane.
QUERN_CLONES size_t best_line(const Lines& lines, float scale) {
  Floats most = Floats{} - kInfinity, value;
  Masks at{};
  for (size_t i = 0; i < lines.count; i += kLanes) {
    values_at(lines, i, scale, value);
    const Masks better = value > most;
    most = better ? value : most;
    at = better ? Masks{} + static_cast<int32_t>(i) : at;
  }
  size_t lane = 0;
  for (size_t j = 1; j < kLanes; ++j) lane = most[j] > most[lane] ? j : lane;
  return static_cast<size_t>(at[lane]) + lane;
}

// Appends the lines of the envelope after `first`, which is best at scale `low`, up to `last`,
// which is best at `high`. The largest of lines is convex: what is best between them is above the
// point where they cross. Scales that are nearly equal have no other line between them.
void add_between(const Lines& lines, const Line& first, float low, const Line& last, float high,
                 std::vector<Line>& out) {
  const float scale = first.q > last.q ? crossing(first, last) : 0.0f;
  if (high > kClose * low && scale > low && scale < high) {
    const Line best = lines.at(best_line(lines, scale));
    if (best.value(scale) > first.value(scale) && first.q > best.q && best.q > last.q) {
      add_between(lines, first, low, best, scale, out);
      return add_between(lines, best, scale, last, high, out);
    }
  }
  if (last.entry != first.entry) out.push_back(last);
}

}  // namespace

void CodebookSearch::set_size() {
  float squares = 0;
  for (const float v : values_) squares += v * v;
  size_ = std::sqrt(squares / static_cast<float>(values_.size()));
}

Envelope CodebookSearch::best_entries(const float* a, const float* w, float shift, bool flip,
                                      float low, float high) const {
  Lines lines;
  lines.count = entries_;
  make_lines(values_.data(), run_, a, w, shift, flip, lines);
  const Line first = lines.at(best_line(lines, low)), last = lines.at(best_line(lines, high));
  std::vector<Line> found = {first};
  add_between(lines, first, low, last, high, found);
  return Envelope(std::move(found));
}

size_t CodebookSearch::cheapest_flip(const float* a, size_t entry) const {
  size_t best = 0;
  for (size_t j = 1; j < run_; ++j) {
    if (a[j] * values_[j * entries_ + entry] < a[best] * values_[best * entries_ + entry]) best = j;
  }
  return best;
}

// The search in one block. A unit has one or two ways (which run takes a flipped sign, or which
// shift).
class BlockSearch {
 public:
  BlockSearch(const CodebookSearch& book, const CodebookLayout& layout, const float* x,
              const float* w)
      : book_(book),
        layout_(layout),
        runs_per_unit_(layout.unit / book.run_),
        units_per_group_(layout.group / layout.unit),
        groups_(256 / layout.group),
        x_(x),
        w_(w) {
    for (size_t i = 0; i < 256; ++i) {
      a_[i] = w[i] * (layout.signs == Signs::kShifted ? x[i] : std::abs(x[i]));
    }
    for (size_t g = 0; g < groups_; ++g) gather(g);
  }

  CodebookChoice run() const;

 private:
  void gather(size_t group);
  Envelope gather_unit(size_t unit, float low, float high);
  bool is_odd(size_t unit) const {
    size_t negative = 0;
    for (size_t i = unit * layout_.unit; i < (unit + 1) * layout_.unit; ++i) negative += x_[i] < 0;
    return negative % 2 == 1;
  }
  bool flips(size_t unit, size_t way, size_t run) const {
    return layout_.signs == Signs::kEven && odd_[unit] && run == way;
  }
  size_t index(size_t unit, size_t way, size_t run) const {
    return (unit * runs_per_unit_ + run) * 2 + way;
  }
  float unit_value(size_t unit, size_t way, float scale) const;
  float choose_levels(const float* own, float d, uint8_t* s, Line& sums) const;
  void store_unit(size_t unit, float scale, CodebookChoice& out) const;

  const CodebookSearch& book_;
  const CodebookLayout& layout_;
  const size_t runs_per_unit_, units_per_group_, groups_;
  const float *x_, *w_;
  std::array<float, 256> a_;
  std::array<bool, 32> odd_{};
  std::array<size_t, 32> ways_{};
  std::array<Envelope, 16> groups_best_;  // all choices of a group
  std::array<Envelope, 128> runs_best_;   // [run][way]
};

void BlockSearch::gather(size_t group) {
  const size_t first = group * layout_.group;
  float squares = 0, weights = 0;
  for (size_t i = first; i < first + layout_.group; ++i) {
    squares += w_[i] * x_[i] * x_[i];
    weights += w_[i];
  }
  const float size = std::sqrt(squares / weights) / book_.size_;
  const float low = kLow * size, high = kHigh * size;
  const size_t unit = group * units_per_group_;
  groups_best_[group] = gather_unit(unit, low, high);
  for (size_t u = unit + 1; u < unit + units_per_group_; ++u) {
    groups_best_[group] = sum(groups_best_[group], gather_unit(u, low, high));
  }
}

Envelope BlockSearch::gather_unit(size_t unit, float low, float high) {
  odd_[unit] = layout_.signs == Signs::kEven && is_odd(unit);
  ways_[unit] = layout_.signs == Signs::kShifted ? 2 : odd_[unit] ? runs_per_unit_ : 1;
  Envelope best;
  for (size_t way = 0; way < ways_[unit]; ++way) {
    const float shift = layout_.signs == Signs::kShifted ? (way ? -0.125f : 0.125f) : 0.0f;
    Envelope all;
    for (size_t run = 0; run < runs_per_unit_; ++run) {
      const size_t at = unit * layout_.unit + run * book_.run_;
      Envelope& entries = runs_best_[index(unit, way, run)];
      entries = book_.best_entries(&a_[at], w_ + at, shift, flips(unit, way, run), low, high);
      all = run == 0 ? entries : sum(all, entries);
    }
    best = way == 0 ? std::move(all) : maximum(best, all);
  }
  return best;
}

// The value of a unit's line in one of its ways.
float BlockSearch::unit_value(size_t unit, size_t way, float scale) const {
  float value = 0;
  for (size_t run = 0; run < runs_per_unit_; ++run) {
    value += runs_best_[index(unit, way, run)].at(scale).value(scale);
  }
  return value;
}

// The best s of every group near its own scale; `d` is what 2s + 1 is multiplied with. Returns the
// gain; `sums`: of all groups over 2s + 1.
float BlockSearch::choose_levels(const float* own, float d, uint8_t* s, Line& sums) const {
  const float inverse_d = inverse(d);
  const auto last = static_cast<float>(layout_.levels - 1);
  float total = 0;
  sums = {};
  for (size_t g = 0; g < groups_; ++g) {
    const int middle =
        static_cast<int>(std::lround(std::clamp((own[g] * inverse_d - 1) / 2, 0.0f, last)));
    float best_gain = -std::numeric_limits<float>::infinity();
    Line best;
    for (int k = std::max(middle - 1, 0); k <= std::min(middle + 1, layout_.levels - 1); ++k) {
      const float scale = d * static_cast<float>(2 * k + 1);
      const Line& found = groups_best_[g].at(scale);
      if (!(found.gain(scale) > best_gain)) continue;
      best_gain = found.gain(scale);
      best = found;
      s[g] = static_cast<uint8_t>(k);
    }
    const auto factor = static_cast<float>(2 * s[g] + 1);
    sums.p += factor * best.p;
    sums.q += factor * factor * best.q;
    total += best_gain;
  }
  return total;
}

void BlockSearch::store_unit(size_t unit, float scale, CodebookChoice& out) const {
  const size_t way =
      ways_[unit] == 2 && unit_value(unit, 1, scale) > unit_value(unit, 0, scale) ? 1 : 0;
  if (layout_.signs == Signs::kShifted) out.down[unit] = way == 1;
  for (size_t run = 0; run < runs_per_unit_; ++run) {
    const size_t at = unit * layout_.unit + run * book_.run_;
    const uint16_t entry = runs_best_[index(unit, way, run)].at(scale).entry;
    out.entry[at / book_.run_] = entry;
    if (layout_.signs == Signs::kShifted) continue;
    for (size_t i = at; i < at + book_.run_; ++i) {
      if (x_[i] < 0) out.signs[i / 8] |= static_cast<uint8_t>(1 << i % 8);
    }
    if (flips(unit, way, run)) {
      const size_t i = at + book_.cheapest_flip(&a_[at], entry);
      out.signs[i / 8] ^= static_cast<uint8_t>(1 << i % 8);
    }
  }
}

CodebookChoice BlockSearch::run() const {
  float own[16] = {};
  for (size_t g = 0; g < groups_; ++g) own[g] = groups_best_[g].best_scale();
  const float largest = *std::max_element(own, own + 16);
  const auto rounded = [&](float d) { return as_f16(d / layout_.unit_scale) * layout_.unit_scale; };
  CodebookChoice best;
  float best_gain = 0, best_d = 0;
  // The largest scale gets the last level, or somewhat more.
  for (size_t start = 0; start < kStarts; ++start) {
    const auto levels = static_cast<float>(2 * layout_.levels - 1);
    float d = rounded(largest / levels * (1.1f - 0.06f * static_cast<float>(start)));
    for (int round = 0; round < 3 && d > 0; ++round) {
      Line sums;
      uint8_t s[16] = {};
      const float gain = choose_levels(own, d, s, sums);
      if (gain > best_gain) {
        best_gain = gain;
        best_d = d;
        std::ranges::copy(s, best.s);
      }
      d = rounded(sums.best_scale());
    }
  }
  best.d = scale_bits(best_d / layout_.unit_scale);
  for (size_t unit = 0; unit < groups_ * units_per_group_; ++unit) {
    const int s = best.s[unit / units_per_group_];
    store_unit(unit, best_d * static_cast<float>(2 * s + 1), best);
  }
  return best;
}

CodebookChoice CodebookSearch::encode(const float* x, const float* w,
                                      const CodebookLayout& layout) const {
  return BlockSearch(*this, layout, x, w).run();
}

}  // namespace quern::kernels::quantize
