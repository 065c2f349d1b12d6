#include "kernels/quantize/codebook_search.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "kernels/quantize/least_squares.h"

namespace quern::kernels::quantize {
namespace {

constexpr size_t kFan = 16;         // scales of the fan,
constexpr float kFanRatio = 1.15f;  // each this much larger than the one before,
constexpr float kFanStart = 0.35f;  // from this part of a group's size on
constexpr size_t kStarts = 6;       // first guesses of d
constexpr size_t kMaxEntries = 2048;

// An entry that a run may take.
struct Candidate {
  float p, q;
  uint16_t entry;
};

// The entries of a run that are best for some scale.
struct Candidates {
  std::array<Candidate, kFan> list;
  size_t count = 0;

  void add(const Candidate& candidate) {
    for (size_t i = 0; i < count; ++i) {
      if (list[i].entry == candidate.entry) return;
    }
    list[count++] = candidate;
  }
  const Candidate& best(float scale) const {
    size_t best = 0;
    float best_gain = -std::numeric_limits<float>::infinity();
    for (size_t i = 0; i < count; ++i) {
      const float gain = 2 * list[i].p - scale * list[i].q;
      if (gain > best_gain) {
        best_gain = gain;
        best = i;
      }
    }
    return list[best];
  }
};

// What a choice of entries amounts to: its gain at a scale is scale * (2p - scale * q).
struct Sums {
  float p = 0, q = 0;

  void add(const Sums& other, float factor = 1) {
    p += factor * other.p;
    q += factor * factor * other.q;
  }
  float gain(float scale) const { return scale * (2 * p - scale * q); }
  float scale() const { return q > 0 ? p / q : 0.0f; }
};

}  // namespace

struct CodebookSearch::Lines {
  alignas(64) std::array<float, kMaxEntries> p, q;

  // The first entry with the largest 2p - scale * q among `entries` (a multiple of 64).
  size_t best(float scale, size_t entries) const {
    float best = -std::numeric_limits<float>::infinity();
    size_t block = 0;
    for (size_t e = 0; e < entries; e += 64) {
      Lanes most;
      most.fill(-std::numeric_limits<float>::infinity());
      for (size_t i = e; i < e + 64; i += kLanes) {
        for (size_t j = 0; j < kLanes; ++j) {
          const float gain = 2 * p[i + j] - scale * q[i + j];
          most[j] = gain > most[j] ? gain : most[j];
        }
      }
      const float largest = *std::ranges::max_element(most);
      if (largest > best) {
        best = largest;
        block = e;
      }
    }
    size_t e = block;
    while (e + 1 < block + 64 && 2 * p[e] - scale * q[e] != best) ++e;
    return e;
  }
};

void CodebookSearch::set_size() {
  float squares = 0;
  for (const float v : values_) squares += v * v;
  size_ = std::sqrt(squares / static_cast<float>(values_.size()));
}

void CodebookSearch::make_lines(const float* a, const float* w, float shift, bool flip,
                                Lines& lines) const {
  std::fill_n(lines.p.begin(), entries_, 0.0f);
  std::fill_n(lines.q.begin(), entries_, 0.0f);
  for (size_t j = 0; j < run_; ++j) {
    const float* values = &values_[j * entries_];
    for (size_t e = 0; e < entries_; ++e) {
      const float g = values[e] + shift;
      lines.p[e] += a[j] * g;
      lines.q[e] += w[j] * g * g;
    }
  }
  if (!flip) return;
  for (size_t e = 0; e < entries_; ++e) {
    float least = a[0] * values_[e];
    for (size_t j = 1; j < run_; ++j) least = std::min(least, a[j] * values_[j * entries_ + e]);
    lines.p[e] -= 2 * least;
  }
}

size_t CodebookSearch::cheapest_flip(const float* a, size_t entry) const {
  size_t best = 0;
  for (size_t j = 1; j < run_; ++j) {
    if (a[j] * values_[j * entries_ + entry] < a[best] * values_[best * entries_ + entry]) best = j;
  }
  return best;
}

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
  bool is_odd(size_t unit) const {
    size_t negative = 0;
    for (size_t i = unit * layout_.unit; i < (unit + 1) * layout_.unit; ++i) negative += x_[i] < 0;
    return negative % 2 == 1;
  }
  bool flips(size_t unit, size_t way, size_t run) const {
    return layout_.signs == Signs::kEven && ways_[unit] > 0 && odd_[unit] && run == way;
  }
  Candidates& candidates(size_t unit, size_t way, size_t run) {
    return candidates_[(unit * runs_per_unit_ + run) * 2 + way];
  }
  const Candidates& candidates(size_t unit, size_t way, size_t run) const {
    return candidates_[(unit * runs_per_unit_ + run) * 2 + way];
  }
  Sums unit_sums(size_t unit, size_t way, float scale) const;
  size_t best_way(size_t unit, float scale) const;
  Sums group_sums(size_t group, float scale) const;
  float own_scale(size_t group) const;
  float choose_levels(const float* own, float d, uint8_t* s, Sums& sums) const;
  void store_unit(size_t unit, float scale, CodebookChoice& out) const;

  const CodebookSearch& book_;
  const CodebookLayout& layout_;
  const size_t runs_per_unit_, units_per_group_, groups_;
  const float *x_, *w_;
  std::array<float, 256> a_;
  std::array<bool, 32> odd_{};
  std::array<size_t, 32> ways_{};
  std::array<std::array<float, kFan>, 16> fan_;  // per group
  std::array<Candidates, 128> candidates_;       // [run][way]
};

void BlockSearch::gather(size_t group) {
  const size_t first = group * layout_.group;
  float squares = 0, weights = 0;
  for (size_t i = first; i < first + layout_.group; ++i) {
    squares += w_[i] * x_[i] * x_[i];
    weights += w_[i];
  }
  float scale = kFanStart * std::sqrt(squares / weights) / book_.size_;
  for (float& t : fan_[group]) {
    t = scale;
    scale *= kFanRatio;
  }
  CodebookSearch::Lines lines;
  for (size_t unit = group * units_per_group_; unit < (group + 1) * units_per_group_; ++unit) {
    odd_[unit] = layout_.signs == Signs::kEven && is_odd(unit);
    ways_[unit] = layout_.signs == Signs::kShifted ? 2 : odd_[unit] ? runs_per_unit_ : 1;
    for (size_t way = 0; way < ways_[unit]; ++way) {
      for (size_t run = 0; run < runs_per_unit_; ++run) {
        const float shift = layout_.signs == Signs::kShifted ? (way ? -0.125f : 0.125f) : 0.0f;
        const size_t at = unit * layout_.unit + run * book_.run_;
        book_.make_lines(&a_[at], w_ + at, shift, flips(unit, way, run), lines);
        for (const float t : fan_[group]) {
          const size_t entry = lines.best(t, book_.entries_);
          candidates(unit, way, run)
              .add({lines.p[entry], lines.q[entry], static_cast<uint16_t>(entry)});
        }
      }
    }
  }
}

Sums BlockSearch::unit_sums(size_t unit, size_t way, float scale) const {
  Sums sums;
  for (size_t run = 0; run < runs_per_unit_; ++run) {
    const Candidate& best = candidates(unit, way, run).best(scale);
    sums.add({best.p, best.q});
  }
  return sums;
}

size_t BlockSearch::best_way(size_t unit, float scale) const {
  if (ways_[unit] == 1) return 0;
  return unit_sums(unit, 1, scale).gain(scale) > unit_sums(unit, 0, scale).gain(scale) ? 1 : 0;
}

Sums BlockSearch::group_sums(size_t group, float scale) const {
  Sums sums;
  for (size_t unit = group * units_per_group_; unit < (group + 1) * units_per_group_; ++unit) {
    sums.add(unit_sums(unit, best_way(unit, scale), scale));
  }
  return sums;
}

// The scale that suits a group best by itself.
float BlockSearch::own_scale(size_t group) const {
  float best = 0, best_gain = 0;
  for (const float t : fan_[group]) {
    const float fitted = std::max(group_sums(group, t).scale(), 0.0f);
    const float gain = group_sums(group, fitted).gain(fitted);
    if (gain > best_gain) {
      best_gain = gain;
      best = fitted;
    }
  }
  return best;
}

// The best s of every group near its own scale; `d` is what 2s + 1 is multiplied with. Returns the
// gain; `sums`: of all groups over 2s + 1.
float BlockSearch::choose_levels(const float* own, float d, uint8_t* s, Sums& sums) const {
  const float inverse_d = inverse(d);
  const auto last = static_cast<float>(layout_.levels - 1);
  float total = 0;
  sums = {};
  for (size_t g = 0; g < groups_; ++g) {
    const int middle =
        static_cast<int>(std::lround(std::clamp((own[g] * inverse_d - 1) / 2, 0.0f, last)));
    float best_gain = -std::numeric_limits<float>::infinity();
    Sums best;
    for (int k = std::max(middle - 1, 0); k <= std::min(middle + 1, layout_.levels - 1); ++k) {
      const float scale = d * static_cast<float>(2 * k + 1);
      const Sums found = group_sums(g, scale);
      if (!(found.gain(scale) > best_gain)) continue;
      best_gain = found.gain(scale);
      best = found;
      s[g] = static_cast<uint8_t>(k);
    }
    sums.add(best, static_cast<float>(2 * s[g] + 1));
    total += best_gain;
  }
  return total;
}

void BlockSearch::store_unit(size_t unit, float scale, CodebookChoice& out) const {
  const size_t way = best_way(unit, scale);
  if (layout_.signs == Signs::kShifted) out.down[unit] = way == 1;
  for (size_t run = 0; run < runs_per_unit_; ++run) {
    const size_t at = unit * layout_.unit + run * book_.run_;
    const size_t entry = candidates(unit, way, run).best(scale).entry;
    out.entry[at / book_.run_] = static_cast<uint16_t>(entry);
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
  for (size_t g = 0; g < groups_; ++g) own[g] = own_scale(g);
  const float largest = *std::max_element(own, own + 16);
  const auto rounded = [&](float d) { return as_f16(d / layout_.unit_scale) * layout_.unit_scale; };
  CodebookChoice best;
  float best_gain = 0, best_d = 0;
  // The largest scale gets the last level, or somewhat more.
  for (size_t start = 0; start < kStarts; ++start) {
    const auto levels = static_cast<float>(2 * layout_.levels - 1);
    float d = rounded(largest / levels * (1.1f - 0.06f * static_cast<float>(start)));
    for (int round = 0; round < 3 && d > 0; ++round) {
      Sums sums;
      uint8_t s[16] = {};
      const float gain = choose_levels(own, d, s, sums);
      if (gain > best_gain) {
        best_gain = gain;
        best_d = d;
        std::ranges::copy(s, best.s);
      }
      d = rounded(sums.scale());
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
