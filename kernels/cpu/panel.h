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
};

constexpr int code_bias(gguf::Format format) { return gguf::info(format).code_bias; }
constexpr bool has_minimum(gguf::Format format) { return gguf::info(format).has_minimum(); }

}  // namespace quern::kernels::cpu
