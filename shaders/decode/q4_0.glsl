// Q4_0: d * (nibble - 8); the low nibbles are values 0 … 15, the high ones 16 … 31.
#include "decode/common.glsl"
#define SECOND 16u

// Where fields begin, in bytes.
const uint kQsStart = BLOCK_BYTES - 16;

Codes decode(BlockRef block, uint64_t codebooks, uint part) {
  const ivec4 bytes = load_bytes(block, kQsStart + 4 * part);
  const float d = from_f16(block.at.d);
  return scaled((bytes & 15) - 8, (bytes >> 4) - 8, d);
}
#include "decode/units.glsl"
