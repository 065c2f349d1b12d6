#include "kernels/quantize/codebook_search.h"

#include <cassert>
#include <limits>

#include "kernels/quantize/envelope.h"
#include "kernels/quantize/least_squares.h"

namespace quern::kernels::quantize {
namespace {

constexpr size_t kFan = 16;         // scales of the fan,
constexpr float kFanRatio = 1.15f;  // each this much larger than the one before,
constexpr float kFanStart = 0.35f;  // from this part of a group's size on
constexpr size_t kStarts = 6;       // first guesses of d
constexpr size_t kMaxHalves = 96;   // of a codebook: 3^4 or 8^2, in whole lanes

using Fan = std::array<float, kFan>;
using HalfValues = std::array<float, kMaxHalves>;

// An entry that a run may take.
struct Candidate {
  Line line;
  uint16_t entry;
};

// The entries of a run that are best for some scale.
struct Candidates {
  std::array<Candidate, kFan> list;
  size_t count = 0;

  void add(const Candidate& candidate) { list[count++] = candidate; }
  const Candidate& best(float scale) const {
    return *std::max_element(list.begin(), list.begin() + count,
                             [&](const Candidate& a, const Candidate& b) {
                               return a.line.value(scale) < b.line.value(scale);
                             });
  }
  Envelope envelope() const {
    std::vector<Line> lines;
    lines.reserve(count);
    for (size_t i = 0; i < count; ++i) lines.push_back(list[i].line);
    return Envelope(std::move(lines));
  }
};

// What the halves of entries add to p and q, and what flipping their cheapest sign would take from
// p.
struct HalfLines {
  alignas(64) HalfValues p, q, flip;
  size_t count;
};

// What the lines of halves are worth at a scale.
void value_at(const HalfLines& lines, float scale, bool flipped, HalfValues& out) {
  for (size_t i = 0; i < lines.count; ++i) {
    const float p = flipped ? lines.p[i] - 2 * lines.flip[i] : lines.p[i];
    out[i] = 2 * p - scale * lines.q[i];
  }
}

}  // namespace

uint16_t CodebookSearch::Halves::find(const float* half) {
  for (size_t i = 0; i < count(); ++i) {
    size_t j = 0;
    while (j < values.size() && values[j][i] == half[j]) ++j;
    if (j == values.size()) return static_cast<uint16_t>(i);
  }
  for (size_t j = 0; j < values.size(); ++j) values[j].push_back(half[j]);
  assert(count() <= kMaxHalves);
  return static_cast<uint16_t>(count() - 1);
}

void CodebookSearch::sort_pairs() {
  std::ranges::stable_sort(pairs_, {}, &Pair::first);
  for (size_t i = 0; i <= first_.count(); ++i) {
    const auto begin = std::ranges::lower_bound(pairs_, i, {}, &Pair::first);
    begin_.push_back(static_cast<uint16_t>(begin - pairs_.begin()));
  }
}

// Finds the candidates of one run. With a flipped sign p loses twice the least a*g of both halves:
// the better of two searches, in which one half pays.
class RunSearch {
 public:
  // a, w: [run]; shift: added to all values of the entries.
  RunSearch(const CodebookSearch& book, const float* a, const float* w, float shift, bool flip)
      : book_(book), flip_(flip) {
    const size_t half = book.run_ / 2;
    fill(book.first_, a, w, shift, first_);
    fill(book.second_, a + half, w + half, shift, second_);
  }

  Candidates run(const Fan& fan) {
    Candidates found;
    std::array<size_t, kFan> best;
    best.front() = best_pair(fan.front(), 0);
    best.back() = best_pair(fan.back(), best.front());
    found.add(candidate(best.front()));
    if (best.back() != best.front()) found.add(candidate(best.back()));
    between(fan, 0, kFan - 1, best, found);
    return found;
  }

 private:
  static void fill(const CodebookSearch::Halves& halves, const float* a, const float* w,
                   float shift, HalfLines& lines) {
    lines.count = halves.count();
    std::fill_n(lines.p.begin(), lines.count, 0.0f);
    std::fill_n(lines.q.begin(), lines.count, 0.0f);
    std::fill_n(lines.flip.begin(), lines.count, std::numeric_limits<float>::infinity());
    for (size_t j = 0; j < halves.values.size(); ++j) {
      const float* values = halves.values[j].data();
      for (size_t i = 0; i < lines.count; ++i) {
        const float g = values[i] + shift;
        lines.p[i] += a[j] * g;
        lines.q[i] += w[j] * g * g;
        lines.flip[i] = std::min(lines.flip[i], a[j] * g);
      }
    }
  }

  // Lines that are best at two scales are the only ones that are best between them if they are
  // one, for the largest of lines is convex.
  void between(const Fan& fan, size_t low, size_t high, std::array<size_t, kFan>& best,
               Candidates& found) {
    if (high - low < 2 || best[low] == best[high]) return;
    const size_t middle = (low + high) / 2;
    const size_t pair = best_pair(fan[middle], best[low]);
    best[middle] = pair;
    if (pair != best[low] && pair != best[high]) found.add(candidate(pair));
    between(fan, low, middle, best, found);
    between(fan, middle, high, best, found);
  }

  Candidate candidate(size_t index) const {
    const CodebookSearch::Pair& pair = book_.pairs_[index];
    Line line{first_.p[pair.first] + second_.p[pair.second],
              first_.q[pair.first] + second_.q[pair.second]};
    if (flip_) line.p -= 2 * std::min(first_.flip[pair.first], second_.flip[pair.second]);
    return {line, pair.entry};
  }

  // The pair with the largest line at a scale; `guess` is a good one, perhaps the best.
  size_t best_pair(float scale, size_t guess) {
    float best = -std::numeric_limits<float>::infinity();
    size_t at = guess;
    for (int paying = 0; paying <= (flip_ ? 1 : 0); ++paying) {
      value_at(first_, scale, flip_ && paying == 0, first_values_);
      value_at(second_, scale, flip_ && paying == 1, second_values_);
      search(guess, best, at);
    }
    return at;
  }

  // Looks at the pairs of those first halves that might do better than the best so far.
  void search(size_t guess, float& best, size_t& at) const {
    const auto try_pair = [&](size_t i) {
      const CodebookSearch::Pair& pair = book_.pairs_[i];
      const float value = first_values_[pair.first] + second_values_[pair.second];
      if (value > best) {
        best = value;
        at = i;
      }
    };
    try_pair(guess);
    const float most =
        *std::max_element(second_values_.begin(), second_values_.begin() + second_.count);
    for (size_t first = 0; first < first_.count; ++first) {
      if (first_values_[first] + most <= best) continue;
      for (size_t i = book_.begin_[first]; i < book_.begin_[first + 1]; ++i) try_pair(i);
    }
  }

  const CodebookSearch& book_;
  const bool flip_;
  HalfLines first_, second_;
  alignas(64) HalfValues first_values_, second_values_;
};

// The search in one block. A unit has one or two ways (which run takes a flipped sign, or which
// shift), and in each way every run has its candidates.
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
  Envelope gather_unit(size_t unit, const Fan& fan);
  bool is_odd(size_t unit) const {
    size_t negative = 0;
    for (size_t i = unit * layout_.unit; i < (unit + 1) * layout_.unit; ++i) negative += x_[i] < 0;
    return negative % 2 == 1;
  }
  bool flips(size_t unit, size_t way, size_t run) const {
    return layout_.signs == Signs::kEven && odd_[unit] && run == way;
  }
  Candidates& candidates(size_t unit, size_t way, size_t run) {
    return candidates_[(unit * runs_per_unit_ + run) * 2 + way];
  }
  const Candidates& candidates(size_t unit, size_t way, size_t run) const {
    return candidates_[(unit * runs_per_unit_ + run) * 2 + way];
  }
  float unit_value(size_t unit, size_t way, float scale) const;
  float choose_levels(const float* own, float d, uint8_t* s, Line& sums) const;
  size_t cheapest_flip(size_t at, size_t entry) const;
  void store_unit(size_t unit, float scale, CodebookChoice& out) const;

  const CodebookSearch& book_;
  const CodebookLayout& layout_;
  const size_t runs_per_unit_, units_per_group_, groups_;
  const float *x_, *w_;
  std::array<float, 256> a_;
  std::array<bool, 32> odd_{};
  std::array<size_t, 32> ways_{};
  std::array<Envelope, 16> envelopes_;      // per group: all its choices
  std::array<Candidates, 128> candidates_;  // [run][way]
};

void BlockSearch::gather(size_t group) {
  const size_t first = group * layout_.group;
  float squares = 0, weights = 0;
  for (size_t i = first; i < first + layout_.group; ++i) {
    squares += w_[i] * x_[i] * x_[i];
    weights += w_[i];
  }
  float scale = kFanStart * std::sqrt(squares / weights) / book_.size_;
  Fan fan;
  for (float& t : fan) {
    t = scale;
    scale *= kFanRatio;
  }
  const size_t unit = group * units_per_group_;
  envelopes_[group] = gather_unit(unit, fan);
  for (size_t u = 1; u < units_per_group_; ++u) {
    envelopes_[group] = sum(envelopes_[group], gather_unit(unit + u, fan));
  }
}

Envelope BlockSearch::gather_unit(size_t unit, const Fan& fan) {
  odd_[unit] = layout_.signs == Signs::kEven && is_odd(unit);
  ways_[unit] = layout_.signs == Signs::kShifted ? 2 : odd_[unit] ? runs_per_unit_ : 1;
  Envelope best;
  for (size_t way = 0; way < ways_[unit]; ++way) {
    Envelope all;
    for (size_t run = 0; run < runs_per_unit_; ++run) {
      const float shift = layout_.signs == Signs::kShifted ? (way ? -0.125f : 0.125f) : 0.0f;
      const size_t at = unit * layout_.unit + run * book_.run_;
      Candidates& found = candidates(unit, way, run);
      found = RunSearch(book_, &a_[at], w_ + at, shift, flips(unit, way, run)).run(fan);
      all = run == 0 ? found.envelope() : sum(all, found.envelope());
    }
    best = way == 0 ? std::move(all) : maximum(best, all);
  }
  return best;
}

// The value of a unit's line in one of its ways.
float BlockSearch::unit_value(size_t unit, size_t way, float scale) const {
  float value = 0;
  for (size_t run = 0; run < runs_per_unit_; ++run) {
    value += candidates(unit, way, run).best(scale).line.value(scale);
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
      const Line& found = envelopes_[g].at(scale);
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

// Of the run at value `at` with this entry: where flipping a sign costs least.
size_t BlockSearch::cheapest_flip(size_t at, size_t entry) const {
  const auto pair = std::ranges::find(book_.pairs_, entry, &CodebookSearch::Pair::entry);
  const size_t half = book_.run_ / 2;
  size_t best = 0;
  float least = std::numeric_limits<float>::infinity();
  for (size_t j = 0; j < book_.run_; ++j) {
    const float value = j < half ? book_.first_.values[j][pair->first]
                                 : book_.second_.values[j - half][pair->second];
    if (a_[at + j] * value < least) {
      least = a_[at + j] * value;
      best = j;
    }
  }
  return at + best;
}

void BlockSearch::store_unit(size_t unit, float scale, CodebookChoice& out) const {
  const size_t way =
      ways_[unit] == 2 && unit_value(unit, 1, scale) > unit_value(unit, 0, scale) ? 1 : 0;
  if (layout_.signs == Signs::kShifted) out.down[unit] = way == 1;
  for (size_t run = 0; run < runs_per_unit_; ++run) {
    const size_t at = unit * layout_.unit + run * book_.run_;
    const uint16_t entry = candidates(unit, way, run).best(scale).entry;
    out.entry[at / book_.run_] = entry;
    if (layout_.signs == Signs::kShifted) continue;
    for (size_t i = at; i < at + book_.run_; ++i) {
      if (x_[i] < 0) out.signs[i / 8] |= static_cast<uint8_t>(1 << i % 8);
    }
    if (flips(unit, way, run)) {
      const size_t i = cheapest_flip(at, entry);
      out.signs[i / 8] ^= static_cast<uint8_t>(1 << i % 8);
    }
  }
}

CodebookChoice BlockSearch::run() const {
  float own[16] = {};
  for (size_t g = 0; g < groups_; ++g) own[g] = envelopes_[g].best_scale();
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
