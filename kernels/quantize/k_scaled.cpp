// Encoders of super-blocks without minimums: Q3_K, Q6_K and IQ4_XS. value = d * k[g] * code with
// small signed integers k (spec: block formats, section 5).
#include <bit>
#include <cstring>

#include "kernels/cpu/codebooks.h"
#include "kernels/quantize/clones.h"
#include "kernels/quantize/encoders.h"
#include "kernels/quantize/least_squares.h"

namespace quern::kernels::quantize {
namespace {

// How a format divides its 256 values, and where the searches look.
struct Shape {
  size_t group;    // values per scale
  int low, high;   // range of k
  ScaleGrid grid;  // of a group's own scale
  int starts;      // how many values of d are tried
};

struct Scales {
  uint16_t d = 0;  // f16 bits
  int k[16] = {};
  float gain = 0;
};

// The best k for every group at this d, from two around the group's own scale; `sums`: of all
// groups over k * code, so that sums.scale() is the best d for these k and codes.
template <typename Codes>
Scales choose_k(const float* x, const float* w, const Shape& shape, const float* own, float d,
                ScaleFit& sums) {
  Scales scales{.d = scale_bits(d)};
  const float inverse_d = inverse(d);
  sums = {};
  for (size_t g = 0; g < 256 / shape.group; ++g) {
    const auto middle = static_cast<int>(std::lround(std::clamp(
        own[g] * inverse_d, static_cast<float>(shape.low), static_cast<float>(shape.high))));
    ScaleFit best;
    float best_gain = 0;
    for (int k = std::max(middle - 1, shape.low); k <= std::min(middle + 1, shape.high); ++k) {
      const float scale = d * static_cast<float>(k);
      const ScaleFit fit =
          fit_scale<Codes>(x + g * shape.group, w + g * shape.group, shape.group, inverse(scale));
      if (!(fit.gain(scale) > best_gain)) continue;
      best_gain = fit.gain(scale);
      best = fit;
      scales.k[g] = k;
    }
    const auto k = static_cast<float>(scales.k[g]);
    sums.xq += k * best.xq;
    sums.qq += k * k * best.qq;
    scales.gain += best_gain;
  }
  return scales;
}

template <typename Codes>
QUERN_CLONES Scales search(const float* x, const float* w, const Shape& shape) {
  float own[16] = {};
  float extreme = 0;
  for (size_t g = 0; g < 256 / shape.group; ++g) {
    own[g] = best_scale<Codes>(x + g * shape.group, w + g * shape.group, shape.group, shape.grid);
    if (std::abs(own[g]) > std::abs(extreme)) extreme = own[g];
  }
  // The extreme scale becomes the longer end of the range of k, or somewhat less.
  Scales best;
  for (int start = 0; start < shape.starts; ++start) {
    float d = as_f16(extreme /
                     (static_cast<float>(shape.low) *
                      (1.0f - 0.6f * static_cast<float>(start) / static_cast<float>(-shape.low))));
    for (int round = 0; round < 3 && d != 0; ++round) {
      ScaleFit sums;
      const Scales scales = choose_k<Codes>(x, w, shape, own, d, sums);
      if (scales.gain > best.gain) best = scales;
      d = as_f16(sums.scale());
    }
  }
  return best;
}

// codes[i] = nearest code at the chosen scales.
template <typename Codes>
void assign(const float* x, const Shape& shape, const Scales& scales, float* codes) {
  const float d = cpu::f16_to_f32(scales.d);
  for (size_t i = 0; i < 256; ++i) {
    const size_t group = i / shape.group;
    codes[i] = Codes::nearest(x[i] * inverse(d * static_cast<float>(scales.k[group])));
  }
}

}  // namespace

void encode(const float* x, const float* w, gguf::BlockQ3_K& out) {
  using Codes = Integers<-4, 3>;
  constexpr Shape kShape{16, -32, 31, {5.25f, 0.25f, 14}, 4};
  const Scales scales = search<Codes>(x, w, kShape);
  float codes[256];
  assign<Codes>(x, kShape, scales, codes);
  out = {};
  out.d = scales.d;
  for (size_t g = 0; g < 16; ++g) {
    const auto k = static_cast<unsigned>(scales.k[g] + 32);
    out.scales[g % 8] |= static_cast<uint8_t>((k & 15) << 4 * (g / 8));
    out.scales[8 + g % 4] |= static_cast<uint8_t>(k >> 4 << 2 * (g / 4));
  }
  for (size_t i = 0; i < 256; ++i) {
    const auto code = static_cast<unsigned>(static_cast<int>(codes[i]) + 4);
    out.qs[32 * (i / 128) + i % 32] |= static_cast<uint8_t>((code & 3) << 2 * (i / 32 % 4));
    out.hmask[i % 32] |= static_cast<uint8_t>(code >> 2 << i / 32);
  }
}

void encode(const float* x, const float* w, gguf::BlockQ6_K& out) {
  using Codes = Integers<-32, 31>;
  constexpr Shape kShape{16, -128, 127, {33.5f, 0.5f, 14}, 1};
  const Scales scales = search<Codes>(x, w, kShape);
  float codes[256];
  assign<Codes>(x, kShape, scales, codes);
  out = {};
  out.d = scales.d;
  for (size_t g = 0; g < 16; ++g) out.scales[g] = static_cast<uint8_t>(scales.k[g]);
  for (size_t i = 0; i < 256; ++i) {
    const size_t n = i / 128, t = i / 32 % 4, l = i % 32;
    const auto code = static_cast<unsigned>(static_cast<int>(codes[i]) + 32);
    out.ql[64 * n + 32 * (t % 2) + l] |= static_cast<uint8_t>((code & 15) << 4 * (t / 2));
    out.qh[32 * n + l] |= static_cast<uint8_t>(code >> 4 << 2 * t);
  }
}

void encode(const float* x, const float* w, gguf::BlockIQ4_XS& out) {
  using Codes = Entries<cpu::kNl4Codes>;
  constexpr Shape kShape{32, -32, 31, {140, 5, 14}, 2};
  const Scales scales = search<Codes>(x, w, kShape);
  float codes[256];
  assign<Codes>(x, kShape, scales, codes);
  out = {};
  out.d = scales.d;
  for (size_t g = 0; g < 8; ++g) {
    const auto k = static_cast<unsigned>(scales.k[g] + 32);
    out.scales_l[g / 2] |= static_cast<uint8_t>((k & 15) << 4 * (g % 2));
    out.scales_h = static_cast<uint16_t>(out.scales_h | k >> 4 << 2 * g);
  }
  for (size_t i = 0; i < 256; ++i) {
    const auto index = static_cast<unsigned>(std::ranges::lower_bound(cpu::kNl4Codes, codes[i]) -
                                             cpu::kNl4Codes.begin());
    out.qs[16 * (i / 32) + i % 16] |= static_cast<uint8_t>(index << (i % 32 < 16 ? 0 : 4));
  }
}

}  // namespace quern::kernels::quantize
