// Encoders of super-blocks with minimums: Q2_K, Q4_K and Q5_K. value = d * k[g] * code - dmin *
// m[g] with small unsigned integers k and m (spec: block formats, section 5).
#include <cstring>
#include <limits>

#include "kernels/quantize/clones.h"
#include "kernels/quantize/encoders.h"
#include "kernels/quantize/least_squares.h"

namespace quern::kernels::quantize {
namespace {

struct Shape {
  size_t group;  // values per scale and minimum
  float top;     // largest code
  int levels;    // largest k and m
  int starts;    // how many pairs of d are tried
};

struct Scales {
  uint16_t d = 0, dmin = 0;  // f16 bits
  int k[16] = {}, m[16] = {};
  float loss = std::numeric_limits<float>::infinity();  // squared error less the sum of w * x * x
};

// The normal equations of d and dmin when codes, k and m are fixed.
struct PairSums {
  float kk = 0, km = 0, mm = 0, xk = 0, xm = 0;

  void add(const AffineFit& fit, int k_level, int m_level) {
    const auto k = static_cast<float>(k_level), m = static_cast<float>(m_level);
    kk += k * k * fit.qq;
    km += k * m * fit.q;
    mm += m * m * fit.w;
    xk += k * fit.xq;
    xm += m * fit.x;
  }
  // {d, dmin}, neither negative.
  Affine solve() const {
    const float determinant = kk * mm - km * km;
    if (determinant > 1e-6f * kk * mm) {
      const Affine fit{(mm * xk - km * xm) / determinant, (km * xk - kk * xm) / determinant};
      if (fit.scale >= 0 && fit.min >= 0) return fit;
    }
    return {kk > 0 ? std::max(xk / kk, 0.0f) : 0.0f, 0};
  }
};

int level(float value, float unit, int levels) {
  return static_cast<int>(
      std::lround(std::clamp(value * inverse(unit), 0.0f, static_cast<float>(levels))));
}

// The best k and m for every group at {d, dmin}, from the neighbours of the group's own pair.
Scales choose_levels(const float* x, const float* w, const Shape& shape, const Affine* own,
                     const Affine& d, PairSums& sums) {
  Scales scales{.d = scale_bits(d.scale), .dmin = scale_bits(d.min), .loss = 0};
  sums = {};
  for (size_t g = 0; g < 256 / shape.group; ++g) {
    const int k0 = level(own[g].scale, d.scale, shape.levels);
    const int m0 = level(own[g].min, d.min, shape.levels);
    float best_loss = std::numeric_limits<float>::infinity();
    AffineFit best;
    for (int k = std::max(k0 - 1, 0); k <= std::min(k0 + 1, shape.levels); ++k) {
      for (int m = std::max(m0 - 1, 0); m <= std::min(m0 + 1, shape.levels); ++m) {
        const Affine pair{d.scale * static_cast<float>(k), d.min * static_cast<float>(m)};
        const AffineFit fit =
            fit_affine(x + g * shape.group, w + g * shape.group, shape.group, pair, shape.top);
        const float loss = fit.loss(pair);
        if (!(loss < best_loss)) continue;
        best_loss = loss;
        best = fit;
        scales.k[g] = k;
        scales.m[g] = m;
      }
    }
    sums.add(best, scales.k[g], scales.m[g]);
    scales.loss += best_loss;
  }
  return scales;
}

QUERN_CLONES Scales search(const float* x, const float* w, const Shape& shape) {
  Affine own[16];
  Affine largest;
  for (size_t g = 0; g < 256 / shape.group; ++g) {
    own[g] = best_affine(x + g * shape.group, w + g * shape.group, shape.group, shape.top, true);
    largest.scale = std::max(largest.scale, own[g].scale);
    largest.min = std::max(largest.min, own[g].min);
  }
  // The largest scale becomes the largest level, or would become somewhat more.
  const auto levels = static_cast<float>(shape.levels);
  Scales best;
  for (int start = 0; start < shape.starts; ++start) {
    const float divisor = levels + static_cast<float>(start) * 0.1f * levels;
    Affine d{as_f16(largest.scale / divisor), as_f16(largest.min / divisor)};
    for (int round = 0; round < 3; ++round) {
      PairSums sums;
      const Scales scales = choose_levels(x, w, shape, own, d, sums);
      if (scales.loss < best.loss) best = scales;
      const Affine fit = sums.solve();
      d = {as_f16(fit.scale), as_f16(fit.min)};
    }
  }
  return best;
}

// codes[i] = nearest code at the chosen scales and minimums.
void assign(const float* x, const Shape& shape, const Scales& scales, uint8_t (&codes)[256]) {
  const float d = cpu::f16_to_f32(scales.d), dmin = cpu::f16_to_f32(scales.dmin);
  for (size_t i = 0; i < 256; ++i) {
    const size_t g = i / shape.group;
    const float inverse_scale = inverse(d * static_cast<float>(scales.k[g]));
    const float v = (x[i] + dmin * static_cast<float>(scales.m[g])) * inverse_scale;
    codes[i] = static_cast<uint8_t>(round_even(std::clamp(v, 0.0f, shape.top)));
  }
}

// The packed 6-bit scales and minimums of Q4_K and Q5_K.
void put_scales_6bit(const Scales& scales, uint8_t (&s)[12]) {
  for (size_t g = 0; g < 4; ++g) {
    s[g] = static_cast<uint8_t>(scales.k[g] | scales.k[g + 4] >> 4 << 6);
    s[g + 4] = static_cast<uint8_t>(scales.m[g] | scales.m[g + 4] >> 4 << 6);
    s[g + 8] = static_cast<uint8_t>((scales.k[g + 4] & 15) | (scales.m[g + 4] & 15) << 4);
  }
}

// The low four bits of Q4_K and Q5_K codes.
void put_nibbles(const uint8_t (&codes)[256], uint8_t (&qs)[128]) {
  std::memset(qs, 0, sizeof qs);
  for (size_t i = 0; i < 256; ++i) {
    qs[32 * (i / 64) + i % 32] |= static_cast<uint8_t>((codes[i] & 15) << 4 * (i / 32 % 2));
  }
}

}  // namespace

void encode(const float* x, const float* w, gguf::BlockQ2_K& out) {
  constexpr Shape kShape{16, 3, 15, 3};
  const Scales scales = search(x, w, kShape);
  uint8_t codes[256];
  assign(x, kShape, scales, codes);
  out = {};
  out.d = scales.d;
  out.dmin = scales.dmin;
  for (size_t g = 0; g < 16; ++g) {
    out.scales[g] = static_cast<uint8_t>(scales.k[g] | scales.m[g] << 4);
  }
  for (size_t i = 0; i < 256; ++i) {
    out.qs[32 * (i / 128) + i % 32] |= static_cast<uint8_t>(codes[i] << 2 * (i / 32 % 4));
  }
}

void encode(const float* x, const float* w, gguf::BlockQ4_K& out) {
  constexpr Shape kShape{32, 15, 63, 1};
  const Scales scales = search(x, w, kShape);
  uint8_t codes[256];
  assign(x, kShape, scales, codes);
  out.d = scales.d;
  out.dmin = scales.dmin;
  put_scales_6bit(scales, out.scales);
  put_nibbles(codes, out.qs);
}

void encode(const float* x, const float* w, gguf::BlockQ5_K& out) {
  constexpr Shape kShape{32, 31, 63, 1};
  const Scales scales = search(x, w, kShape);
  uint8_t codes[256];
  assign(x, kShape, scales, codes);
  out.d = scales.d;
  out.dmin = scales.dmin;
  put_scales_6bit(scales, out.scales);
  put_nibbles(codes, out.qs);
  std::memset(out.qh, 0, sizeof out.qh);
  for (size_t i = 0; i < 256; ++i) {
    out.qh[i % 32] |= static_cast<uint8_t>((codes[i] >> 4) << i / 32);
  }
}

}  // namespace quern::kernels::quantize
