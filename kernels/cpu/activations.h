// Activations as kernels read them. The integer ones: int8 codes with an f32 unit per 256 values
// and a power of two per 32. So an integer product is scaled by a shift, which on current x86 cores
// takes none of the units that multiply, and one multiplication serves 256 values.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "gguf/format.h"

namespace quern::kernels::cpu {

inline constexpr size_t kUnitValues = 256;      // values per unit
inline constexpr size_t kActivationGroup = 32;  // values per shift
inline constexpr int32_t kMaxShift = 3;         // so that a shifted sum of 32 codes fits 16 bits
inline constexpr size_t kSumGroup = 16;         // values per stored sum
inline constexpr size_t kTokenBlock = 8;        // tokens whose activations lie interleaved

// One group of 32 values of n = 1, 2, 4 or 8 tokens, so that a kernel that works on all of them
// finds everything at fixed distances from one pointer. Bytes, all parts [n]:
//   codes       int8 [8][n][4]: value k of token t at [k / 4][t][k % 4], -127 … 127
//   unit        f32: value = (code << shift) * unit; the same in all groups of 256 values
//   sums        int16 [n][2]: sums of 16 codes each
//   pair_sums   int16 [n][2]: in the even groups of a row, sums of the 32 codes << shift of this
//               and of the next group (past the end 0)
//   shift       int32: 0 … kMaxShift
struct ActivationGroup {
  static constexpr size_t kBytesPerToken = kActivationGroup + 4 * 4;

  static constexpr size_t code(size_t tokens, size_t token, size_t k) {
    return (k / 4 * tokens + token) * 4 + k % 4;
  }
  static constexpr size_t unit(size_t tokens, size_t token) {
    return tokens * kActivationGroup + token * 4;
  }
  static constexpr size_t sums(size_t tokens, size_t token) {
    return unit(tokens, token) + tokens * 4;
  }
  static constexpr size_t pair_sums(size_t tokens, size_t token) {
    return unit(tokens, token) + 2 * tokens * 4;
  }
  static constexpr size_t shift(size_t tokens, size_t token) {
    return unit(tokens, token) + 3 * tokens * 4;
  }
};

// Rows of activations: blocks of kTokenBlock tokens, then of what is left, a power of two at a
// time; each [values / 32] groups. `values` must be a multiple of 32.
struct QuantizedLayout {
  size_t values;

  // Per token; a block of n tokens takes n times as much, the block of token t begins at t times.
  size_t row_bytes() const { return values / kActivationGroup * ActivationGroup::kBytesPerToken; }
  // Tokens of the block that begins with token `first` of `tokens`.
  static size_t block_tokens(size_t first, size_t tokens) {
    return std::min(kTokenBlock, std::bit_floor(tokens - first));
  }
};

// Quantizes x[tokens][values], row stride `values`. Of 256 values (the last ones of a row may be
// fewer) with largest magnitude m: unit = m / 127 / 2^kMaxShift. A group of 32 with largest
// magnitude n has the smallest shift with n <= m * 2^(shift - kMaxShift), and code = round to
// nearest even of x * (127 / m * 2^(kMaxShift - shift)). So a code's step is less than twice what a
// scale per 32 values would give (spec: block formats, section 6), but 2^-3 of the largest at
// least. A unit below the smallest normal float becomes 0; 256 values with NaN or infinity get a
// NaN unit and zero codes, so that the result shows it. With two planes token t becomes columns 2t
// and 2t + 1 of the block: its codes, and those of what they leave, x - (code << shift) * unit.
// tokens * planes: of one block.
void quantize_block(const float* x, size_t tokens, size_t planes, size_t values, std::byte* out);

// Activations as the BF16 kernels read them: rows of bfloat16, padded with zeros.
constexpr size_t halves_stride(size_t values) { return (values + 31) / 32 * 32; }

// Rounds x[values] to nearest even, into out[halves_stride(values)].
void round_to_halves(const float* x, size_t values, uint16_t* out);

// The forms of activations, beside plain floats, that products with some weights read.
struct InputForms {
  size_t planes = 0;  // quantized
  bool halves = false;

  static InputForms of(gguf::Format format, size_t planes = 1) {
    return {.planes = gguf::info(format).is_float() ? 0 : planes,
            .halves = format == gguf::Format::BF16};
  }
  InputForms operator|(const InputForms& other) const {
    return {std::max(planes, other.planes), halves || other.halves};
  }
  // Memory that they take for [tokens][values]: first quantized, then halves.
  size_t bytes(size_t values, size_t tokens) const;
};

}  // namespace quern::kernels::cpu
