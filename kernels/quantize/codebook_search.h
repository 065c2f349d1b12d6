// The search of the i-quants with codebooks: for every run of values an entry of the codebook, for
// every group a scale d * (2s + 1) (spec: block formats, section 5).
//
// With a = w * x, an entry g at scale t lowers the squared error by t * (2p - t*q), where p is the
// sum of a*g and q that of w*g*g: 2p - t*q is a line per entry, of which only the upper envelope
// matters (envelope.h). Envelopes of runs are added up to that of a group, which the search for
// scales reads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/cpu/codebooks.h"
#include "kernels/quantize/envelope.h"

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
  explicit CodebookSearch(const cpu::Codebook<Run, Entries>& book) : run_(Run), entries_(Entries) {
    for (size_t j = 0; j < Run; ++j) {
      for (const auto& entry : book) values_.push_back(entry[j]);
    }
    set_size();
  }

  // x, w: [256], w > 0.
  CodebookChoice encode(const float* x, const float* w, const CodebookLayout& layout) const;

 private:
  friend class BlockSearch;

  void set_size();
  // The best entries of one run for scales from `low` to `high`; a, w: [run]. `shift` is added to
  // all values; with `flip` the sign that costs least is turned.
  Envelope best_entries(const float* a, const float* w, float shift, bool flip, float low,
                        float high) const;
  // Of `a` and one entry: where turning a sign costs least.
  size_t cheapest_flip(const float* a, size_t entry) const;

  size_t run_, entries_;
  std::vector<float> values_;  // [run][entries]
  float size_ = 1;             // root mean square of all values
};

}  // namespace quern::kernels::quantize
