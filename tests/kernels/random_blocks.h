// Random test data for any block format, without knowing its fields: random bytes are kept when
// they decode to finite, not too large values.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <random>
#include <vector>

#include "gguf/format.h"
#include "kernels/cpu/reference.h"

namespace quern::test {

inline bool is_moderate(const gguf::FormatInfo& format, const std::byte* block) {
  float values[256];
  kernels::cpu::reference::decode_row(format.format, block, values, format.block_values);
  return std::all_of(values, values + format.block_values,
                     [](float value) { return std::abs(value) < 1e9f; });
}

inline void random_block(const gguf::FormatInfo& format, std::mt19937& random, std::byte* block) {
  do {
    for (size_t i = 0; i < format.block_bytes; ++i) block[i] = static_cast<std::byte>(random());
  } while (!is_moderate(format, block));
}

// Sets every byte to `value` where the block stays moderate: the extreme codes of the format.
inline void fill_block(const gguf::FormatInfo& format, std::byte value, std::byte* block) {
  for (size_t i = 0; i < format.block_bytes; ++i) {
    const std::byte before = block[i];
    block[i] = value;
    if (!is_moderate(format, block)) block[i] = before;
  }
}

// A matrix [rows][values] of random blocks.
inline std::vector<std::byte> random_matrix(const gguf::FormatInfo& format, size_t rows,
                                            size_t values, std::mt19937& random) {
  std::vector<std::byte> bytes(rows * format.row_bytes(values));
  for (size_t at = 0; at < bytes.size(); at += format.block_bytes) {
    random_block(format, random, bytes.data() + at);
  }
  return bytes;
}

}  // namespace quern::test
