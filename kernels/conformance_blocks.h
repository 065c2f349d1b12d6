// The blocks that the checks of a format run on, and how their values are compared.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "gguf/format.h"

namespace quern::kernels::conformance {

using Bytes = std::vector<std::byte>;

inline constexpr uint32_t kSeed = 7;

// Blocks of one repeated byte (zeros, every value of every code), of zeros with one bit set (the
// smallest scales and single codes), random ones, and random ones with extreme scales: zero,
// subnormal and large binary16 numbers of both signs, wherever a block may keep one. Only blocks
// that a file may hold and whose values are below 1e9, so that sums are finite.
Bytes edge_blocks(const gguf::FormatInfo& format);

// Where two rows of values differ in their bits; empty if nowhere.
std::string difference(std::span<const float> found, std::span<const float> expected,
                       size_t block_values);

// What a format's files are called, "q4_k", and its struct, "BlockQ4_K".
std::string file_name(const gguf::FormatInfo& format);
std::string block_name(const gguf::FormatInfo& format);

}  // namespace quern::kernels::conformance
