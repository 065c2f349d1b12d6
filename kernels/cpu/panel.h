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

// What is added to a format's codes to make them unsigned (spec: block formats, sections 4 and 5).
constexpr int code_bias(gguf::Format format) {
  using enum gguf::Format;
  switch (format) {
    case Q4_1:
    case Q5_1:
    case Q2_K:
    case Q4_K:
    case Q5_K:
      return 0;
    case Q1_0:
    case Q2_0:
    case TQ1_0:
    case TQ2_0:
      return 1;
    case Q3_K:
      return 4;
    case Q4_0:
      return 8;
    case IQ1_S:
    case IQ1_M:
      return 9;
    case MXFP4:
    case NVFP4:
      return 12;
    case Q5_0:
      return 16;
    case Q6_K:
      return 32;
    default:
      return 128;
  }
}

// Whether value = scale * code - min has a min (spec: block formats, section 8.1): the formats with
// unsigned codes.
constexpr bool has_minimum(gguf::Format format) {
  return !gguf::info(format).is_float() && code_bias(format) == 0;
}

}  // namespace quern::kernels::cpu
