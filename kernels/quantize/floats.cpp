// The float formats: rounding, no search.
#include <cstring>

#include "kernels/cpu/f16.h"
#include "kernels/quantize/encoders.h"

namespace quern::kernels::quantize {

void encode(const float* x, const float*, gguf::BlockF32& out) {
  std::memcpy(out.bytes, x, sizeof out.bytes);
}

void encode(const float* x, const float*, gguf::BlockF16& out) { out.bits = cpu::f32_to_f16(*x); }

void encode(const float* x, const float*, gguf::BlockBF16& out) { out.bits = cpu::f32_to_bf16(*x); }

}  // namespace quern::kernels::quantize
