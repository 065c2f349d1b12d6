// Q2_0 both ways: d * (code - 1), four two-bit codes per byte in value order (spec: block formats,
// section 4).
#include <cstring>

#include "kernels/cpu/f16.h"
#include "kernels/cpu/reference_blocks.h"
#include "kernels/quantize/encoders.h"
#include "kernels/quantize/least_squares.h"

namespace quern::kernels {

void cpu::reference::unpack(const gguf::BlockQ2_0& block, UnpackedBlock& out) {
  for (size_t i = 0; i < 64; ++i) {
    out.codes[i] = static_cast<int8_t>((block.qs[i / 4] >> 2 * (i % 4) & 3) - 1);
  }
  set_scale(out, 0, 4, f16_to_f32(block.d));
}

void quantize::encode(const float* x, const float* w, gguf::BlockQ2_0& out) {
  uint8_t codes[64];
  out.d = encode_integers<-1, 2>(x, w, 64, {3.5f, 0.1f, 30}, codes);
  std::memset(out.qs, 0, sizeof out.qs);
  for (size_t i = 0; i < 64; ++i) {
    out.qs[i / 4] |= static_cast<uint8_t>(codes[i] << 2 * (i % 4));
  }
}

}  // namespace quern::kernels
