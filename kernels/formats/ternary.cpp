// TQ1_0 and TQ2_0 both ways: codes -1, 0 and 1 with one scale (spec: block formats, section 4).
#include <array>
#include <cmath>
#include <cstring>
#include <numeric>

#include "kernels/cpu/f16.h"
#include "kernels/cpu/reference_blocks.h"
#include "kernels/quantize/encoders.h"
#include "kernels/quantize/least_squares.h"

namespace quern::kernels {
namespace {

// Codes -1, 0, 1 with one scale. For a fixed number of nonzero codes these are best at the largest
// magnitudes, so trying every number is exact.
float best_ternary_scale(const float* x, const float* w, size_t n) {
  std::array<uint16_t, 256> order;
  std::iota(order.begin(), order.begin() + n, uint16_t{0});
  std::stable_sort(order.begin(), order.begin() + n,
                   [&](uint16_t a, uint16_t b) { return std::abs(x[a]) > std::abs(x[b]); });
  quantize::ScaleFit fit, best;
  for (size_t k = 0; k < n; ++k) {
    fit.xq += w[order[k]] * std::abs(x[order[k]]);
    fit.qq += w[order[k]];
    if (fit.best_gain() > best.best_gain()) best = fit;
  }
  return best.scale();
}

}  // namespace

void cpu::reference::unpack(const gguf::BlockTQ2_0& block, UnpackedBlock& out) {
  for (size_t i = 0; i < 256; ++i) {
    const int q = block.qs[32 * (i / 128) + i % 32] >> 2 * (i / 32 % 4) & 3;
    out.codes[i] = static_cast<int8_t>(q - 1);
  }
  set_scale(out, 0, 16, f16_to_f32(block.d));
}

// Five base-3 digits per byte as a fraction of 256, most significant first: digit k is the integer
// part of 3 * (byte * 3^k mod 256) / 256.
void cpu::reference::unpack(const gguf::BlockTQ1_0& block, UnpackedBlock& out) {
  const auto digits = [&](const uint8_t* bytes, size_t count, size_t digits_per_byte,
                          int8_t* codes) {
    for (size_t j = 0; j < count; ++j) {
      uint8_t fraction = bytes[j];
      for (size_t k = 0; k < digits_per_byte; ++k, fraction = static_cast<uint8_t>(fraction * 3)) {
        codes[k * count + j] = static_cast<int8_t>((fraction * 3 >> 8) - 1);
      }
    }
  };
  digits(block.qs, 32, 5, out.codes);
  digits(block.qs + 32, 16, 5, out.codes + 160);
  digits(block.qh, 4, 4, out.codes + 240);
  set_scale(out, 0, 16, f16_to_f32(block.d));
}

void quantize::encode(const float* x, const float* w, gguf::BlockTQ2_0& out) {
  uint8_t codes[256];
  out.d = scale_bits(best_ternary_scale(x, w, 256));
  assign<-1, 1>(x, 256, cpu::f16_to_f32(out.d), codes);
  std::memset(out.qs, 0, sizeof out.qs);
  for (size_t i = 0; i < 256; ++i) {
    out.qs[32 * (i / 128) + i % 32] |= static_cast<uint8_t>(codes[i] << 2 * (i / 32 % 4));
  }
}

void quantize::encode(const float* x, const float* w, gguf::BlockTQ1_0& out) {
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

}  // namespace quern::kernels
