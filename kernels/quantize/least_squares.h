// Small fits that the encoders share: given codes, the scale with the smallest weighted squared
// error has a closed form; the searches try codes.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "kernels/cpu/f16.h"
#include "kernels/quantize/clones.h"

namespace quern::kernels::quantize {

// Sums run in this many lanes, so that the compiler may use vectors without changing results.
inline constexpr size_t kLanes = 16;
using Lanes = std::array<float, kLanes>;

inline float fold(Lanes lanes) {
  for (size_t half = kLanes / 2; half > 0; half /= 2) {
    for (size_t j = 0; j < half; ++j) lanes[j] += lanes[j + half];
  }
  return lanes[0];
}

// To the nearest integer, ties to even; |v| < 2^22. Unlike nearbyint it is no library call.
inline float round_even(float v) { return (v + 0x1.8p23f) - 0x1.8p23f; }

inline float largest_magnitude(const float* x, size_t n) {
  float largest = 0;
  for (size_t i = 0; i < n; ++i) largest = std::max(largest, std::abs(x[i]));
  return largest;
}

// The f16 scale nearest to a value, saturating; and a value as that scale will decode.
inline uint16_t scale_bits(float value) {
  return cpu::f32_to_f16(std::clamp(value, -65504.0f, 65504.0f));
}
inline float as_f16(float value) { return cpu::f16_to_f32(scale_bits(value)); }

// 1 / scale, 0 for scales that are 0 or so small that the inverse overflows.
inline float inverse(float scale) {
  const float result = 1.0f / scale;
  return std::isfinite(result) ? result : 0.0f;
}

// Integer codes Low … High.
template <int Low, int High>
struct Integers {
  static constexpr bool kSymmetric = Low == -High;
  static constexpr float kTop = std::max(-Low, High);
  static float nearest(float v) {
    return round_even(std::clamp(v, static_cast<float>(Low), static_cast<float>(High)));
  }
};

// Codes of an ascending table.
template <const auto& Table>
struct Entries {
  static constexpr bool kSymmetric = Table.front() == -Table.back();
  static constexpr float kTop = std::max(-Table.front(), +Table.back());
  static float nearest(float v) {
    float code = Table.front();
    for (size_t k = 0; k + 1 < Table.size(); ++k) {
      const float middle = 0.5f * static_cast<float>(Table[k] + Table[k + 1]);
      code += v > middle ? static_cast<float>(Table[k + 1] - Table[k]) : 0.0f;
    }
    return code;
  }
};

// Sums of w*x*q and w*q*q: what a scale for fixed codes q depends on.
struct ScaleFit {
  float xq = 0, qq = 0;

  float scale() const { return qq > 0 ? xq / qq : 0.0f; }
  // By how much a scale, or the best one, lowers the squared error below that of all zeros.
  float gain(float s) const { return s * (2 * xq - s * qq); }
  float best_gain() const { return qq > 0 ? xq * xq / qq : 0.0f; }
};

// For the codes nearest to x * inverse_scale; n is a multiple of kLanes.
template <typename Codes>
ScaleFit fit_scale(const float* x, const float* w, size_t n, float inverse_scale) {
  Lanes xq{}, qq{};
  for (size_t i = 0; i < n; i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) {
      const float q = Codes::nearest(x[i + j] * inverse_scale);
      const float wq = w[i + j] * q;
      xq[j] += wq * x[i + j];
      qq[j] += wq * q;
    }
  }
  return {fold(xq), fold(qq)};
}

// Where best_scale looks: the largest magnitude becomes code first, first - step, …
struct ScaleGrid {
  float first, step;
  int count;
};

// The best scale found on a grid, then improved by assigning codes and fitting in turn. Negative
// scales are tried where the codes are not symmetric.
template <typename Codes>
float best_scale(const float* x, const float* w, size_t n, const ScaleGrid& grid) {
  const float largest = largest_magnitude(x, n);
  const float unit = inverse(largest);
  if (unit == 0) return 0;
  float best_gain = 0, best = 0;
  const auto try_inverse = [&](float inverse_scale) {
    const ScaleFit fit = fit_scale<Codes>(x, w, n, inverse_scale);
    if (!(fit.best_gain() > best_gain)) return false;
    best_gain = fit.best_gain();
    best = fit.scale();
    return true;
  };
  for (int k = 0; k < grid.count; ++k) {
    const float c = (grid.first - static_cast<float>(k) * grid.step) * unit;
    try_inverse(c);
    if (!Codes::kSymmetric) try_inverse(-c);
  }
  for (int k = 0; k < 4 && try_inverse(inverse(best)); ++k) {
  }
  return best;
}

// codes[i] = nearest code of x[i] at this scale, minus Low.
template <int Low, int High>
void assign(const float* x, size_t n, float scale, uint8_t* codes) {
  const float inverse_scale = inverse(scale);
  for (size_t i = 0; i < n; ++i) {
    codes[i] = static_cast<uint8_t>(Integers<Low, High>::nearest(x[i] * inverse_scale) - Low);
  }
}

// The scale's bits and codes of a block of one scale and integers.
template <int Low, int High>
QUERN_CLONES uint16_t encode_integers(const float* x, const float* w, size_t n,
                                      const ScaleGrid& grid, uint8_t* codes) {
  const uint16_t d = scale_bits(best_scale<Integers<Low, High>>(x, w, n, grid));
  assign<Low, High>(x, n, cpu::f16_to_f32(d), codes);
  return d;
}

// value = scale * q - min.
struct Affine {
  float scale = 0, min = 0;
};

// Sums over codes q: what scale and minimum for fixed codes depend on.
struct AffineFit {
  float w = 0, q = 0, qq = 0, x = 0, xq = 0;

  // The best pair; with `min_not_negative` the best with min >= 0.
  Affine solve(bool min_not_negative) const {
    const float determinant = w * qq - q * q;
    if (determinant > 1e-6f * w * qq) {
      const Affine fit{(w * xq - x * q) / determinant, (q * xq - qq * x) / determinant};
      if (fit.min >= 0 || !min_not_negative) return fit;
    }
    return {qq > 0 ? xq / qq : 0.0f, 0};
  }
  // The squared error of a pair, less the sum of w * x * x.
  float loss(const Affine& a) const {
    return a.scale * (a.scale * qq - 2 * xq - 2 * a.min * q) + a.min * (2 * x + a.min * w);
  }
};

// For codes 0 … top nearest to (x + min) / scale; n is a multiple of kLanes.
inline AffineFit fit_affine(const float* x, const float* w, size_t n, const Affine& a, float top) {
  const float inverse_scale = inverse(a.scale);
  Lanes sw{}, sq{}, sqq{}, sx{}, sxq{};
  for (size_t i = 0; i < n; i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) {
      const float v = x[i + j], weight = w[i + j];
      const float q = round_even(std::clamp((v + a.min) * inverse_scale, 0.0f, top));
      const float wq = weight * q;
      sw[j] += weight;
      sq[j] += wq;
      sqq[j] += wq * q;
      sx[j] += weight * v;
      sxq[j] += wq * v;
    }
  }
  return {fold(sw), fold(sq), fold(sqq), fold(sx), fold(sxq)};
}

// The best pair found: the ends of the range are moved on a grid, then codes and fit in turn.
Affine best_affine(const float* x, const float* w, size_t n, float top, bool min_not_negative);

}  // namespace quern::kernels::quantize
