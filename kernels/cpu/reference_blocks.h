// The scalar unpack functions, one overload per block struct, declared from formats.def: a
// quantized format without one does not link.
#pragma once

#include "kernels/cpu/reference.h"

namespace quern::kernels::cpu::reference {

#define QUERN_FORMAT(name, ...) void unpack(const gguf::Block##name& block, UnpackedBlock& out);
#include "gguf/formats.def"
#undef QUERN_FORMAT

// Sets scale and minimum of 16-value groups first … first + count - 1.
inline void set_scale(UnpackedBlock& out, size_t first, size_t count, float scale, float min = 0) {
  for (size_t g = first; g < first + count; ++g) {
    out.scale[g] = scale;
    out.min[g] = min;
  }
}

// Sets those of group g as multiples of out.block_scale and out.block_min.
inline void set_scale_codes(UnpackedBlock& out, size_t g, int scale, int min = 0) {
  out.scale_codes[g] = scale;
  out.min_codes[g] = min;
  set_scale(out, g, 1, out.block_scale * static_cast<float>(scale),
            out.block_min * static_cast<float>(min));
}

}  // namespace quern::kernels::cpu::reference
