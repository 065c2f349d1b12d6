// Q1_0 both ways: signs, one bit per value, and one scale (spec: block formats, section 4).
#include <cmath>
#include <cstring>

#include "kernels/cpu/f16.h"
#include "kernels/cpu/reference_blocks.h"
#include "kernels/quantize/encoders.h"
#include "kernels/quantize/least_squares.h"

namespace quern::kernels {

void cpu::reference::unpack(const gguf::BlockQ1_0& block, UnpackedBlock& out) {
  for (size_t i = 0; i < 128; ++i) out.codes[i] = block.qs[i / 8] >> i % 8 & 1 ? 1 : -1;
  set_scale(out, 0, 8, f16_to_f32(block.d));
}

void quantize::encode(const float* x, const float* w, gguf::BlockQ1_0& out) {
  float magnitudes = 0, weights = 0;
  std::memset(out.qs, 0, sizeof out.qs);
  for (size_t i = 0; i < 128; ++i) {
    magnitudes += w[i] * std::abs(x[i]);
    weights += w[i];
    if (x[i] >= 0) out.qs[i / 8] |= static_cast<uint8_t>(1 << i % 8);
  }
  out.d = scale_bits(magnitudes / weights);
}

}  // namespace quern::kernels
