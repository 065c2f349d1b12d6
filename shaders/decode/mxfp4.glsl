// MXFP4: E2M1 numbers, doubled, times half of an E8M0 scale per 32 values.
#include "decode/common.glsl"
#define SECOND 16u

// Where fields begin, in bytes.
const uint kQsStart = BLOCK_BYTES - 16;

#include "decode/fp4.glsl"

Codes decode(BlockRef block, uint64_t codebooks, uint part) {
  const ivec4 bytes = load_bytes(block, kQsStart + 4 * part);
  const uint e = uint(block.at.e);
  const float scale = uintBitsToFloat(e < 2 ? 0x00200000u << e : (e - 1) << 23);
  return scaled(fp4(bytes & 15), fp4(bytes >> 4), scale);
}
#include "decode/units.glsl"
