// The float formats: rounding, no search.
#include <bit>
#include <cstring>

#include "kernels/cpu/f16.h"
#include "kernels/quantize/encoders.h"

namespace quern::kernels::quantize {

void encode(const float* x, const float*, gguf::BlockF32& out) {
  std::memcpy(out.bytes, x, sizeof out.bytes);
}

void encode(const float* x, const float*, gguf::BlockF16& out) { out.bits = cpu::f32_to_f16(*x); }

// Round half to even on the upper half of the bits.
void encode(const float* x, const float*, gguf::BlockBF16& out) {
  const auto bits = std::bit_cast<uint32_t>(*x);
  out.bits = static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

}  // namespace quern::kernels::quantize
