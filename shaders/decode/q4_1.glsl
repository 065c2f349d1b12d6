// Q4_1: d * nibble + m; the low nibbles are values 0 … 15, the high ones 16 … 31.
#include "decode/common.glsl"
#define SECOND 16u
#define MINIMUMS

// Where fields begin, in bytes.
const uint kQsStart = BLOCK_BYTES - 16;

Codes decode(BlockRef block, uint64_t codebooks, uint part) {
  const ivec4 bytes = load_bytes(block, kQsStart + 4 * part);
  const float d = from_f16(block.at.d), m = from_f16(block.at.m);
  return Codes(bytes & 15, bytes >> 4, vec2(d), vec2(-m));
}
#include "decode/units.glsl"
