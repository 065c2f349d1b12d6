// Scalar unpacking of the K formats and IQ4_XS: 256 values, one f16 scale and small integer scales
// per 16 or 32 values (spec: block formats, section 5).
#include "kernels/cpu/codebooks.h"
#include "kernels/cpu/f16.h"
#include "kernels/cpu/reference_blocks.h"

namespace quern::kernels::cpu::reference {
namespace {

int low(uint8_t byte) { return byte & 15; }
int high(uint8_t byte) { return byte >> 4; }

// Value i of a plane of two-bit codes: 32 bytes carry 128 values.
int two_bits(const uint8_t (&qs)[64], size_t i) {
  return qs[32 * (i / 128) + i % 32] >> 2 * (i / 32 % 4) & 3;
}

// The packed 6-bit scales and minimums of Q4_K and Q5_K: two bits of the last four scales and
// minimums are the upper bits of the first eight bytes.
void set_scales_6bit(float d, float dmin, const uint8_t (&s)[12], UnpackedBlock& out) {
  out.block_min = dmin;
  for (size_t g = 0; g < 8; ++g) {
    const int scale = g < 4 ? s[g] & 63 : low(s[g + 4]) | s[g - 4] >> 6 << 4;
    const int min = g < 4 ? s[g + 4] & 63 : high(s[g + 4]) | s[g] >> 6 << 4;
    set_scale(out, 2 * g, 2, d * static_cast<float>(scale), dmin * static_cast<float>(min));
    out.min_codes[2 * g] = out.min_codes[2 * g + 1] = min;
  }
}

// Nibble i of a Q4_K or Q5_K block: 32 bytes hold one group in the low, the next in the high
// nibbles.
int nibble(const uint8_t (&qs)[128], size_t i) {
  const uint8_t byte = qs[32 * (i / 64) + i % 32];
  return i / 32 % 2 == 0 ? low(byte) : high(byte);
}

}  // namespace

void unpack(const gguf::BlockQ2_K& block, UnpackedBlock& out) {
  for (size_t i = 0; i < 256; ++i) out.codes[i] = static_cast<int8_t>(two_bits(block.qs, i));
  out.block_scale = f16_to_f32(block.d);
  out.block_min = f16_to_f32(block.dmin);
  for (size_t g = 0; g < 16; ++g) {
    set_scale_codes(out, g, low(block.scales[g]), high(block.scales[g]));
  }
}

void unpack(const gguf::BlockQ3_K& block, UnpackedBlock& out) {
  for (size_t i = 0; i < 256; ++i) {
    const int high_bit = block.hmask[i % 32] >> i / 32 & 1;
    out.codes[i] = static_cast<int8_t>(two_bits(block.qs, i) + 4 * high_bit - 4);
  }
  out.block_scale = f16_to_f32(block.d);
  out.block_min = 0;
  for (size_t g = 0; g < 16; ++g) {
    const int low_bits = g < 8 ? low(block.scales[g]) : high(block.scales[g - 8]);
    const int high_bits = block.scales[8 + g % 4] >> 2 * (g / 4) & 3;
    set_scale_codes(out, g, (low_bits | high_bits << 4) - 32);
  }
}

void unpack(const gguf::BlockQ4_K& block, UnpackedBlock& out) {
  for (size_t i = 0; i < 256; ++i) out.codes[i] = static_cast<int8_t>(nibble(block.qs, i));
  set_scales_6bit(f16_to_f32(block.d), f16_to_f32(block.dmin), block.scales, out);
}

void unpack(const gguf::BlockQ5_K& block, UnpackedBlock& out) {
  for (size_t i = 0; i < 256; ++i) {
    const int fifth = block.qh[i % 32] >> i / 32 & 1;
    out.codes[i] = static_cast<int8_t>(nibble(block.qs, i) | fifth << 4);
  }
  set_scales_6bit(f16_to_f32(block.d), f16_to_f32(block.dmin), block.scales, out);
}

void unpack(const gguf::BlockQ6_K& block, UnpackedBlock& out) {
  for (size_t i = 0; i < 256; ++i) {
    const size_t n = i / 128, t = i / 32 % 4, l = i % 32;
    const uint8_t byte = block.ql[64 * n + 32 * (t % 2) + l];
    const int high_bits = block.qh[32 * n + l] >> 2 * t & 3;
    out.codes[i] = static_cast<int8_t>(((t < 2 ? low(byte) : high(byte)) | high_bits << 4) - 32);
  }
  const float d = f16_to_f32(block.d);
  for (size_t g = 0; g < 16; ++g) {
    set_scale(out, g, 1, d * static_cast<float>(static_cast<int8_t>(block.scales[g])));
  }
}

void unpack(const gguf::BlockIQ4_XS& block, UnpackedBlock& out) {
  const float d = f16_to_f32(block.d);
  for (size_t g = 0; g < 8; ++g) {
    for (size_t j = 0; j < 16; ++j) {
      out.codes[32 * g + j] = kNl4Codes[low(block.qs[16 * g + j])];
      out.codes[32 * g + 16 + j] = kNl4Codes[high(block.qs[16 * g + j])];
    }
    const int low_bits = block.scales_l[g / 2] >> 4 * (g % 2) & 15;
    const int high_bits = block.scales_h >> 2 * g & 3;
    set_scale(out, 2 * g, 2, d * static_cast<float>((low_bits | high_bits << 4) - 32));
  }
}

}  // namespace quern::kernels::cpu::reference
