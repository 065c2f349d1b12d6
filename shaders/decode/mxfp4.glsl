// MXFP4: E2M1 numbers, doubled, times half of an E8M0 scale per 32 values.
#include "decode/common.glsl"
#define SECOND 16u

// Where fields begin, in bytes.
const uint kQsStart = BLOCK_BYTES - 16;

#include "decode/fp4.glsl"

void decode(BlockRef block, uint64_t codebooks, uint part, out vec4 first, out vec4 second) {
  const ivec4 bytes = load_bytes(block, kQsStart + 4 * part);
  const uint e = uint(block.at.e);
  const float scale = uintBitsToFloat(e < 2 ? 0x00200000u << e : (e - 1) << 23);
  first = scale * vec4(fp4(bytes & 15));
  second = scale * vec4(fp4(bytes >> 4));
}
#include "decode/units.glsl"
