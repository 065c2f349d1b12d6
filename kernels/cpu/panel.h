// Panel: 16 weight rows by up to 256 values, unpacked to the one form that the integer kernels
// read. All quantized formats share the kernels; a format brings only its unpacking (formats/).
#pragma once

#include <cstddef>
#include <cstdint>

#include "gguf/format.h"

namespace quern::kernels::cpu {

inline constexpr size_t kPanelRows = 16;
inline constexpr size_t kPanelValues = 256;

// Lane = row: a vector of 32-bit lanes holds four consecutive values of each of its rows, so that
// dot products need no horizontal sums.
struct Panel {
  alignas(64) uint8_t codes[kPanelValues / 4][kPanelRows][4];  // [k / 4][row][k % 4], code + bias
  alignas(64) float scale[kPanelValues / 16][kPanelRows];      // [k / scale group][row]
  alignas(64) float min[kPanelValues / 16][kPanelRows];        // the same; unset without minimums
  // Of product panels whose minimums have codes: those of scale groups 2i and 2i + 1, as multiples
  // of min[0].
  alignas(64) int16_t min_codes[kPanelValues / 32][kPanelRows][2];  // [i][row]
};

constexpr int code_bias(gguf::Format format) { return gguf::info(format).code_bias; }
constexpr bool has_minimum(gguf::Format format) { return gguf::info(format).has_minimum(); }

// Formats whose scales are integers times the block's one scale, so small that code * scale still
// is a byte. For products their panels are scaled: codes are code * scale + scaled_bias, and
// scale[0] serves all 256 values. (For decoding they are not: -1 * 0 must stay a negative zero.)
constexpr bool scales_codes(gguf::Format format) {
  return format == gguf::Format::Q2_K || format == gguf::Format::Q3_K;
}
// Formats whose minimums are integers times the block's one; for products they stay integers.
constexpr bool codes_minimums(gguf::Format format) {
  return format == gguf::Format::Q2_K || format == gguf::Format::Q4_K ||
         format == gguf::Format::Q5_K;
}
// Q2_K: 0 … 3 * 15; Q3_K: -4 … 3 times -32 … 31.
constexpr int scaled_bias(gguf::Format format) { return format == gguf::Format::Q3_K ? 124 : 0; }

}  // namespace quern::kernels::cpu
