// The encoders, one overload per block struct, declared from formats.def: a quantized format
// without one does not link. Each looks for the codes and scales with the smallest weighted squared
// error sum of w[i] * (x[i] - decoded[i])^2 over its block. They are deterministic.
#pragma once

#include "gguf/format.h"

namespace quern::kernels::quantize {

// x, w: [values of a block]; x finite and at most kLargest in magnitude, w > 0.
inline constexpr float kLargest = 1e15f;
#define QUERN_FORMAT(name, ...) void encode(const float* x, const float* w, gguf::Block##name& out);
#include "gguf/formats.def"
#undef QUERN_FORMAT

}  // namespace quern::kernels::quantize
