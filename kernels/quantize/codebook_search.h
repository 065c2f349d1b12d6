// The search of the i-quants with codebooks: for every run of values an entry of the codebook, for
// every group a scale d * (2s + 1) (spec: block formats, section 5).
//
// With a = w * x, an entry g at scale t lowers the squared error by t * (2p - t*q), where p is the
// sum of a*g and q that of w*g*g: 2p - t*q is a line per entry. So every run keeps only the entries
// that are best for some scale of a fan around its group's size, and of a whole group only the
// upper envelope of the lines of all its choices matters (envelope.h): the search for scales reads
// it.
//
// The lines are sums of two halves, and entries share halves: a table per half, and a bound that
// leaves out most pairs, find the best entry at a scale without looking at all.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/cpu/codebooks.h"

namespace quern::kernels::quantize {

// How a format stores signs.
enum class Signs {
  kFree,     // a bit per value
  kEven,     // seven bits per eight values: an odd number of minus signs needs one flipped
  kShifted,  // none: entries are signed, and a unit is shifted by +1/8 or -1/8
};

struct CodebookLayout {
  size_t group;  // values per scale
  size_t unit;   // values that share a sign byte or a shift; divides group
  Signs signs;
  int levels;        // s = 0 … levels - 1
  float unit_scale;  // of d: 1, 1/4, 1/8
};

// An encoded block of 256 values.
struct CodebookChoice {
  uint16_t d = 0;           // f16 bits
  uint8_t s[16] = {};       // per group
  uint16_t entry[64] = {};  // per run
  uint8_t signs[32] = {};   // per 8 values: bit j set, value j is negative (not kShifted)
  bool down[32] = {};       // per unit: shifted by -1/8 (kShifted)
};

class CodebookSearch {
 public:
  template <size_t Run, size_t Entries>
  explicit CodebookSearch(const cpu::Codebook<Run, Entries>& book)
      : run_(Run), first_(Run / 2), second_(Run / 2) {
    float squares = 0;
    for (size_t e = 0; e < Entries; ++e) {
      std::array<float, Run> values;
      std::ranges::copy(book[e], values.begin());
      for (const float v : values) squares += v * v;
      pairs_.push_back(
          {first_.find(&values[0]), second_.find(&values[Run / 2]), static_cast<uint16_t>(e)});
    }
    size_ = std::sqrt(squares / static_cast<float>(Run * Entries));
    sort_pairs();
  }

  // x, w: [256], w > 0.
  CodebookChoice encode(const float* x, const float* w, const CodebookLayout& layout) const;

 private:
  friend class BlockSearch;
  friend class RunSearch;

  // The distinct first, or second, halves of all entries.
  struct Halves {
    explicit Halves(size_t width) : values(width) {}
    uint16_t find(const float* half);  // adds it if it is new
    size_t count() const { return values[0].size(); }

    std::vector<std::vector<float>> values;  // [place in the half][half]
  };
  struct Pair {
    uint16_t first, second, entry;
  };

  void sort_pairs();

  size_t run_;
  Halves first_, second_;
  std::vector<Pair> pairs_;      // [entries], by first half
  std::vector<uint16_t> begin_;  // [first halves + 1]: where a half's pairs begin
  float size_ = 1;               // root mean square of all values
};

}  // namespace quern::kernels::quantize
