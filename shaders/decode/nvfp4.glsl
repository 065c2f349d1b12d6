// NVFP4: E2M1 numbers, doubled, times half of an unsigned E4M3 scale per 16 values.
#include "decode/common.glsl"
#define SECOND 8u

// Where fields begin, in bytes.
const uint kQsStart = BLOCK_BYTES - 32;

#include "decode/fp4.glsl"

// Half of an unsigned E4M3 number; bit 7 only matters in 0x7F, which is 0.
float ue4m3_half(uint byte) {
  const uint exponent = byte >> 3 & 15, mantissa = byte & 7;
  if (byte == 0x7F) return 0;
  if (exponent == 0) return float(mantissa) / 1024;
  return uintBitsToFloat(exponent + 119 << 23 | mantissa << 20);
}

Codes decode(BlockRef block, uint64_t codebooks, uint part) {
  const uint group = part / 2;
  const ivec4 bytes = load_bytes(block, kQsStart + 8 * group + 4 * (part % 2));
  const float scale = ue4m3_half(uint(block.at.scales[group]));
  return scaled(fp4(bytes & 15), fp4(bytes >> 4), scale);
}
#include "decode/units.glsl"
