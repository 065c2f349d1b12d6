// Scalar unpacking of the formats with one scale per block (spec: block formats, section 4).
#include <bit>
#include <cmath>
#include <cstring>

#include "kernels/cpu/codebooks.h"
#include "kernels/cpu/f16.h"
#include "kernels/cpu/reference_blocks.h"

namespace quern::kernels::cpu::reference {
namespace {

int low(uint8_t byte) { return byte & 15; }
int high(uint8_t byte) { return byte >> 4; }

uint32_t load32(const uint8_t (&bytes)[4]) {
  uint32_t word;
  std::memcpy(&word, bytes, sizeof word);
  return word;
}

// 16 bytes hold 32 nibbles: the low ones are values 0 … 15, the high ones 16 … 31.
template <typename Code>
void unpack_nibbles(const uint8_t (&qs)[16], UnpackedBlock& out, Code&& code) {
  for (size_t j = 0; j < 16; ++j) {
    out.codes[j] = static_cast<int8_t>(code(low(qs[j]), j));
    out.codes[j + 16] = static_cast<int8_t>(code(high(qs[j]), j + 16));
  }
}

// 2^(e - 128): an E8M0 exponent, halved because the code table is doubled.
float e8m0_half(uint8_t e) {
  return std::bit_cast<float>(e < 2 ? 0x00200000u << e : static_cast<uint32_t>(e - 1) << 23);
}

// An unsigned E4M3 number, halved likewise; bit 7 only matters in 0x7F, which is 0.
float ue4m3_half(uint8_t byte) {
  const int exponent = byte >> 3 & 15;
  const int mantissa = byte & 7;
  if (byte == 0x7F) return 0;
  if (exponent == 0) return static_cast<float>(mantissa) * 0x1p-10f;
  return std::ldexp(static_cast<float>(8 + mantissa), exponent - 11);
}

}  // namespace

void unpack(const gguf::BlockQ4_0& block, UnpackedBlock& out) {
  unpack_nibbles(block.qs, out, [](int q, size_t) { return q - 8; });
  set_scale(out, 0, 2, f16_to_f32(block.d));
}

void unpack(const gguf::BlockQ4_1& block, UnpackedBlock& out) {
  unpack_nibbles(block.qs, out, [](int q, size_t) { return q; });
  set_scale(out, 0, 2, f16_to_f32(block.d), -f16_to_f32(block.m));
}

void unpack(const gguf::BlockQ5_0& block, UnpackedBlock& out) {
  const uint32_t fifth = load32(block.qh);
  unpack_nibbles(block.qs, out,
                 [&](int q, size_t i) { return (q | static_cast<int>(fifth >> i & 1) << 4) - 16; });
  set_scale(out, 0, 2, f16_to_f32(block.d));
}

void unpack(const gguf::BlockQ5_1& block, UnpackedBlock& out) {
  const uint32_t fifth = load32(block.qh);
  unpack_nibbles(block.qs, out,
                 [&](int q, size_t i) { return q | static_cast<int>(fifth >> i & 1) << 4; });
  set_scale(out, 0, 2, f16_to_f32(block.d), -f16_to_f32(block.m));
}

void unpack(const gguf::BlockQ8_0& block, UnpackedBlock& out) {
  std::memcpy(out.codes, block.qs, sizeof block.qs);
  set_scale(out, 0, 2, f16_to_f32(block.d));
}

void unpack(const gguf::BlockIQ4_NL& block, UnpackedBlock& out) {
  unpack_nibbles(block.qs, out, [](int q, size_t) { return kNl4Codes[q]; });
  set_scale(out, 0, 2, f16_to_f32(block.d));
}

void unpack(const gguf::BlockMXFP4& block, UnpackedBlock& out) {
  unpack_nibbles(block.qs, out, [](int q, size_t) { return kFp4Codes[q]; });
  set_scale(out, 0, 2, e8m0_half(block.e));
}

void unpack(const gguf::BlockNVFP4& block, UnpackedBlock& out) {
  for (size_t k = 0; k < 4; ++k) {
    for (size_t j = 0; j < 8; ++j) {
      out.codes[16 * k + j] = kFp4Codes[low(block.qs[8 * k + j])];
      out.codes[16 * k + 8 + j] = kFp4Codes[high(block.qs[8 * k + j])];
    }
    set_scale(out, k, 1, ue4m3_half(block.scales[k]));
  }
}

}  // namespace quern::kernels::cpu::reference
