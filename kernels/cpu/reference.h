// The scalar truth: every format and every operation in plain C++, written to be read and to be
// compared with. A format that has only this still works everywhere.
#pragma once

#include <cstddef>
#include <cstdint>

#include "gguf/format.h"
#include "kernels/cpu/activations.h"

namespace quern::kernels::cpu::reference {

// A block of any quantized format as integers: value i = scale[i / 16] * codes[i] - min[i / 16].
// The product is exact in f32 in every format (spec: block formats, section 1), so this form loses
// nothing; formats without minimums have min = 0. Scales shared by more than 16 values are
// repeated.
struct UnpackedBlock {
  alignas(64) int8_t codes[256];
  float scale[16];
  float min[16];
  // Of formats that scale codes (scales_codes in panel.h) scale[g] = block_scale * scale_codes[g],
  // of those whose minimums have codes min[g] = block_min * min_codes[g], exactly.
  float block_scale, block_min;
  int32_t scale_codes[16], min_codes[16];
};

// Unpacks one block; `format` must be quantized (scale_group > 0).
void unpack(gguf::Format format, const std::byte* block, UnpackedBlock& out);

// Decodes `values` values (a multiple of the format's block) of a row of any format to f32,
// equal to the bit to the golden vectors, the sign of zero included.
void decode_row(gguf::Format format, const std::byte* row, float* out, size_t values);

// One token's quantized activations: value k is about (codes[k] << shifts[k / 32]) * units[k /
// 256].
struct QuantizedRow {
  int8_t* codes;    // [values], -127 … 127
  int32_t* shifts;  // [values / 32], 0 … kMaxShift
  float* units;     // [values / 256], rounded up
  int32_t* sums;    // [values / 16], sum of 16 codes each

  double value(size_t k) const { return double{step(k)} * codes[k]; }
  // What one code is worth.
  float step(size_t k) const {
    return units[k / kUnitValues] * static_cast<float>(1 << shifts[k / kActivationGroup]);
  }
};

// What cpu::quantize_block reproduces to the bit.
void quantize_row(const float* x, size_t values, const QuantizedRow& out);

// The quantized dot product that every integer kernel reproduces to the bit. Groups g of 32 values
// in ascending order, P the exact integer sum of code * activation code, X the sum of activation
// codes, both shifted left as the group says; u is the unit of 256 values, which have chains from
// zero:
//   block = fma(f32(P_g), scale_g, block)     (two scales: first of the one half of g, then of the
//   least = fma(f32(X_g), min_g, least)        other; formats with two have no such minimums)
//   acc   = fma(block, u, acc), then acc = fma(-least, u, acc)
// Formats with scaled codes (panel.h) have one integer sum for the 256 values in place of `block`,
// with P = P_0 * scale_0 + P_1 * scale_1:
//   acc = fma(f32(Σ P_g) * u, d, acc)
// and those whose minimums have codes one in place of `least`, with M = X_0 * min_0 + X_1 * min_1:
//   acc = fma(-(f32(Σ M_g) * u), dmin, acc)
float dot_quantized(gguf::Format format, const std::byte* row, const QuantizedRow& x,
                    size_t values);

// The dot product of the float formats, that every float kernel reproduces to the bit. Each 64
// values have a chain from zero, t = fma(w_k, x_k, t) with k ascending, and acc += t. BF16 rounds x
// to BF16, of two neighbouring values takes the second first (if the number of values is odd, a
// zero is the last one's neighbour), and takes subnormal numbers for zeros.
float dot_float(gguf::Format format, const std::byte* row, const float* x, size_t values);

}  // namespace quern::kernels::cpu::reference
