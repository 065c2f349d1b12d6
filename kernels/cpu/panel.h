// Panel: 16 weight rows by up to 256 values, unpacked to the one form that the integer kernels
// read. All quantized formats share the kernels; a format brings only its unpacking
// (unpack_*-inl.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "gguf/format.h"

namespace quern::kernels::cpu {

inline constexpr size_t kPanelRows = 16;
inline constexpr size_t kPanelValues = 256;
inline constexpr int kPanelBias = 128;  // makes signed codes unsigned

// Lane = row: a vector of 32-bit lanes holds four consecutive values of each of its rows, so that
// dot products need no horizontal sums.
struct Panel {
  alignas(64) uint8_t codes[kPanelValues / 4][kPanelRows][4];  // [k / 4][row][k % 4], code + 128
  alignas(64) float scale[kPanelValues / 16][kPanelRows];      // [k / scale group][row]
  alignas(64) float min[kPanelValues / 16][kPanelRows];        // the same; unset without minimums
};

// Whether value = scale * code - min has a min (spec: block formats, section 8.1).
constexpr bool has_minimum(gguf::Format format) {
  using enum gguf::Format;
  return format == Q4_1 || format == Q5_1 || format == Q2_K || format == Q4_K || format == Q5_K;
}

// Unpacks `values` values of 16 rows; the first row's blocks start at `blocks`, the rows lie
// `stride` bytes apart. `values`: a multiple of the format's block, at most 256.
void unpack_panel(gguf::Format format, const std::byte* blocks, size_t stride, size_t values,
                  Panel& panel);

}  // namespace quern::kernels::cpu
