// Encoders of the formats of E2M1 codes, whose scales are small floats: every scale near the right
// size is tried (spec: block formats, sections 3 and 4).
#include <cmath>

#include "kernels/quantize/encoders.h"
#include "kernels/quantize/least_squares.h"

namespace quern::kernels::quantize {
namespace {

// Twice the E2M1 values, ascending. The codes of the file are sign and magnitude.
constexpr std::array<int8_t, 15> kAscending = {-12, -8, -6, -4, -3, -2, -1, 0,
                                               1,   2,  3,  4,  6,  8,  12};
using Codes = Entries<kAscending>;

uint8_t code_bits(float v) {
  constexpr float kMagnitudes[8] = {0, 1, 2, 3, 4, 6, 8, 12};
  const float code = Codes::nearest(v);
  uint8_t index = 0;
  while (kMagnitudes[index] < std::abs(code)) ++index;
  return static_cast<uint8_t>(code < 0 ? index | 8 : index);
}

// The index in [first, last] whose scale has the smallest error.
template <typename Scale>
int best_index(const float* x, const float* w, size_t n, int first, int last, Scale&& scale) {
  int best = first;
  float best_gain = 0;
  for (int k = first; k <= last; ++k) {
    const float s = scale(k);
    const float gain = fit_scale<Codes>(x, w, n, inverse(s)).gain(s);
    if (gain > best_gain) {
      best_gain = gain;
      best = k;
    }
  }
  return best;
}

float e8m0_half(int e) { return std::ldexp(1.0f, e - 128); }

float ue4m3_half(int bits) {
  const int exponent = bits >> 3, mantissa = bits & 7;
  return exponent == 0 ? static_cast<float>(mantissa) * 0x1p-10f
                       : std::ldexp(static_cast<float>(8 + mantissa), exponent - 11);
}

}  // namespace

void encode(const float* x, const float* w, gguf::BlockMXFP4& out) {
  const float largest = largest_magnitude(x, 32);
  // The largest value becomes a code of magnitude 3 … 24, the last clipped.
  const int top = largest > 0 ? std::ilogb(largest) + 128 : 3;
  const int last = std::clamp(top - 1, 0, 254), first = std::clamp(top - 4, 0, 254);
  out.e = static_cast<uint8_t>(best_index(x, w, 32, first, last, e8m0_half));
  const float inverse_scale = inverse(e8m0_half(out.e));
  for (size_t j = 0; j < 16; ++j) {
    out.qs[j] = static_cast<uint8_t>(code_bits(x[j] * inverse_scale) |
                                     code_bits(x[j + 16] * inverse_scale) << 4);
  }
}

void encode(const float* x, const float* w, gguf::BlockNVFP4& out) {
  constexpr int kLast = 0x7E;  // 0x7F stands for 0
  for (size_t k = 0; k < 4; ++k, x += 16, w += 16) {
    const float largest = largest_magnitude(x, 16);
    int first = 0, last = kLast;
    while (first < kLast && ue4m3_half(first) * 16 < largest) ++first;
    while (last > first && ue4m3_half(last) * 3 > largest) --last;
    out.scales[k] = static_cast<uint8_t>(best_index(x, w, 16, first, last, ue4m3_half));
    const float inverse_scale = inverse(ue4m3_half(out.scales[k]));
    for (size_t j = 0; j < 8; ++j) {
      out.qs[8 * k + j] = static_cast<uint8_t>(code_bits(x[j] * inverse_scale) |
                                               code_bits(x[j + 8] * inverse_scale) << 4);
    }
  }
}

}  // namespace quern::kernels::quantize
