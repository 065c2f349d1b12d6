// Encoders of the formats of 32 values with one scale (spec: block formats, section 4).
#include <cstring>

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

// encode_integers with a minimum, which is subtracted in Affine and added in the block.
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

}  // namespace quern::kernels::quantize
