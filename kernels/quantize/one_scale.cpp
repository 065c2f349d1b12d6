// Encoders of the formats with one scale per block (spec: block formats, section 4).
#include <bit>
#include <cstring>
#include <numeric>

#include "kernels/cpu/codebooks.h"
#include "kernels/quantize/encoders.h"
#include "kernels/quantize/least_squares.h"

namespace quern::kernels::quantize {
namespace {

// 32 codes 0 … 15 as nibbles: the first half of the block in the low ones.
void put_nibbles(const uint8_t* codes, size_t half, uint8_t* qs) {
  for (size_t j = 0; j < half; ++j) {
    qs[j] = static_cast<uint8_t>((codes[j] & 15) | (codes[j + half] & 15) << 4);
  }
}

void put_fifth_bits(const uint8_t (&codes)[32], uint8_t (&qh)[4]) {
  std::memset(qh, 0, sizeof qh);
  for (size_t i = 0; i < 32; ++i) qh[i / 8] |= static_cast<uint8_t>((codes[i] >> 4 & 1) << i % 8);
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
uint16_t encode_integers(const float* x, const float* w, size_t n, const ScaleGrid& grid,
                         uint8_t* codes) {
  const uint16_t d = scale_bits(best_scale<Integers<Low, High>>(x, w, n, grid));
  assign<Low, High>(x, n, cpu::f16_to_f32(d), codes);
  return d;
}

// The same with a minimum, which is subtracted in Affine and added in the block.
struct AffineBits {
  uint16_t d, m;
};
AffineBits encode_affine(const float* x, const float* w, float top, uint8_t (&codes)[32]) {
  const Affine fit = best_affine(x, w, 32, top, false);
  // The best minimum for the scale as it is stored, which may be far from the one wanted.
  const float d = as_f16(fit.scale);
  const AffineFit sums = fit_affine(x, w, 32, {d, fit.min}, top);
  const AffineBits bits{scale_bits(d), scale_bits((sums.x - d * sums.q) / sums.w)};
  const float inverse_scale = inverse(d);
  const float m = cpu::f16_to_f32(bits.m);
  for (size_t i = 0; i < 32; ++i) {
    codes[i] = static_cast<uint8_t>(round_even(std::clamp((x[i] - m) * inverse_scale, 0.0f, top)));
  }
  return bits;
}

// Codes -1, 0, 1 with one scale. For a fixed number of nonzero codes these are best at the largest
// magnitudes, so trying every number is exact.
float best_ternary_scale(const float* x, const float* w, size_t n) {
  std::array<uint16_t, 256> order;
  std::iota(order.begin(), order.begin() + n, uint16_t{0});
  std::stable_sort(order.begin(), order.begin() + n,
                   [&](uint16_t a, uint16_t b) { return std::abs(x[a]) > std::abs(x[b]); });
  ScaleFit fit, best;
  for (size_t k = 0; k < n; ++k) {
    fit.xq += w[order[k]] * std::abs(x[order[k]]);
    fit.qq += w[order[k]];
    if (fit.best_gain() > best.best_gain()) best = fit;
  }
  return best.scale();
}

}  // namespace

void encode(const float* x, const float* w, gguf::BlockQ4_0& out) {
  uint8_t codes[32];
  out.d = encode_integers<-8, 7>(x, w, 32, {9.5f, 0.25f, 16}, codes);
  put_nibbles(codes, 16, out.qs);
}

void encode(const float* x, const float* w, gguf::BlockQ5_0& out) {
  uint8_t codes[32];
  out.d = encode_integers<-16, 15>(x, w, 32, {17.25f, 0.25f, 18}, codes);
  put_nibbles(codes, 16, out.qs);
  put_fifth_bits(codes, out.qh);
}

void encode(const float* x, const float* w, gguf::BlockQ8_0& out) {
  // -128 is left out: kernels negate codes.
  uint8_t codes[32];
  out.d = encode_integers<-127, 127>(x, w, 32, {128.5f, 0.25f, 24}, codes);
  for (size_t i = 0; i < 32; ++i) out.qs[i] = static_cast<uint8_t>(codes[i] - 127);
}

void encode(const float* x, const float* w, gguf::BlockQ4_1& out) {
  uint8_t codes[32];
  const AffineBits bits = encode_affine(x, w, 15, codes);
  out.d = bits.d;
  out.m = bits.m;
  put_nibbles(codes, 16, out.qs);
}

void encode(const float* x, const float* w, gguf::BlockQ5_1& out) {
  uint8_t codes[32];
  const AffineBits bits = encode_affine(x, w, 31, codes);
  out.d = bits.d;
  out.m = bits.m;
  put_nibbles(codes, 16, out.qs);
  put_fifth_bits(codes, out.qh);
}

void encode(const float* x, const float* w, gguf::BlockIQ4_NL& out) {
  using Codes = Entries<cpu::kNl4Codes>;
  out.d = scale_bits(best_scale<Codes>(x, w, 32, {140, 5, 14}));
  const float inverse_scale = inverse(cpu::f16_to_f32(out.d));
  uint8_t codes[32];
  for (size_t i = 0; i < 32; ++i) {
    const float code = Codes::nearest(x[i] * inverse_scale);
    codes[i] = static_cast<uint8_t>(std::ranges::lower_bound(cpu::kNl4Codes, code) -
                                    cpu::kNl4Codes.begin());
  }
  put_nibbles(codes, 16, out.qs);
}

void encode(const float* x, const float* w, gguf::BlockQ1_0& out) {
  float magnitudes = 0, weights = 0;
  std::memset(out.qs, 0, sizeof out.qs);
  for (size_t i = 0; i < 128; ++i) {
    magnitudes += w[i] * std::abs(x[i]);
    weights += w[i];
    if (x[i] >= 0) out.qs[i / 8] |= static_cast<uint8_t>(1 << i % 8);
  }
  out.d = scale_bits(magnitudes / weights);
}

void encode(const float* x, const float* w, gguf::BlockQ2_0& out) {
  uint8_t codes[64];
  out.d = encode_integers<-1, 2>(x, w, 64, {3.5f, 0.1f, 30}, codes);
  std::memset(out.qs, 0, sizeof out.qs);
  for (size_t i = 0; i < 64; ++i) {
    out.qs[i / 4] |= static_cast<uint8_t>(codes[i] << 2 * (i % 4));
  }
}

void encode(const float* x, const float* w, gguf::BlockTQ2_0& out) {
  uint8_t codes[256];
  out.d = scale_bits(best_ternary_scale(x, w, 256));
  assign<-1, 1>(x, 256, cpu::f16_to_f32(out.d), codes);
  std::memset(out.qs, 0, sizeof out.qs);
  for (size_t i = 0; i < 256; ++i) {
    out.qs[32 * (i / 128) + i % 32] |= static_cast<uint8_t>(codes[i] << 2 * (i / 32 % 4));
  }
}

void encode(const float* x, const float* w, gguf::BlockTQ1_0& out) {
  uint8_t codes[256];
  out.d = scale_bits(best_ternary_scale(x, w, 256));
  assign<-1, 1>(x, 256, cpu::f16_to_f32(out.d), codes);
  // The digits of a byte, most significant first, as the fraction ceil(256 n / 243).
  const auto pack = [](const uint8_t* from, size_t count, size_t digits, uint8_t* bytes) {
    for (size_t j = 0; j < count; ++j) {
      unsigned n = 0;
      for (size_t k = 0; k < 5; ++k) n = 3 * n + (k < digits ? from[k * count + j] : 0);
      bytes[j] = static_cast<uint8_t>((256 * n + 242) / 243);
    }
  };
  pack(codes, 32, 5, out.qs);
  pack(codes + 160, 16, 5, out.qs + 32);
  pack(codes + 240, 4, 4, out.qh);
}

}  // namespace quern::kernels::quantize
