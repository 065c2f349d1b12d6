// Q5_0: d * (code - 16); nibbles as in Q4_0, the fifth bit of value i is bit i of qh.
#include "decode/common.glsl"
#define SECOND 16u

// Where fields begin, in bytes.
const uint kQsStart = BLOCK_BYTES - 16;

// Bit j of the fifth bits, as 16.
ivec4 fifth_bits(BlockRef block, uint first) {
  const uint shift = first % 8;
  return bits4(uint(block.at.qh[first / 8]), shift) << 4;
}

Codes decode(BlockRef block, uint64_t codebooks, uint part) {
  const ivec4 bytes = load_bytes(block, kQsStart + 4 * part);
  const float d = from_f16(block.at.d);
  return scaled((bytes & 15 | fifth_bits(block, 4 * part)) - 16,
                (bytes >> 4 | fifth_bits(block, 4 * part + 16)) - 16, d);
}
#include "decode/units.glsl"
