// Codebooks: the runs of 8 (or 4) magnitudes that indices of the i-quants stand for, and the
// 16-entry tables of the 4-bit float-like formats (spec: block formats, sections 3 and 5).
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace quern::kernels::cpu {

template <size_t Run, size_t Entries>
using Codebook = std::array<std::array<int8_t, Run>, Entries>;

// Aligned to cache lines, so that no entry lies across two.
alignas(64) extern const Codebook<8, 256> kIq2XxsCodebook;
alignas(64) extern const Codebook<8, 512> kIq2XsCodebook;
alignas(64) extern const Codebook<8, 1024> kIq2SCodebook;
alignas(64) extern const Codebook<4, 256> kIq3XxsCodebook;
alignas(64) extern const Codebook<4, 512> kIq3SCodebook;
alignas(64) extern const Codebook<8, 2048> kIq1Codebook;  // IQ1_S and IQ1_M: -1, 0, 1

// IQ4_NL and IQ4_XS.
inline constexpr std::array<int8_t, 16> kNl4Codes = {-127, -104, -83, -65, -49, -35, -22, -10,
                                                     1,    13,   25,  38,  53,  69,  89,  113};
// MXFP4 and NVFP4: twice the E2M1 value; both zeros are +0.
inline constexpr std::array<int8_t, 16> kFp4Codes = {0, 1,  2,  3,  4,  6,  8,  12,
                                                     0, -1, -2, -3, -4, -6, -8, -12};

// The sign mask that 7 stored bits stand for: bit 7 makes the number of ones even. Bit j set
// negates value j of a run of 8.
constexpr uint8_t sign_mask(uint32_t bits7) {
  return static_cast<uint8_t>(bits7 | (std::popcount(bits7) & 1) << 7);
}

}  // namespace quern::kernels::cpu
