// Q5_1: d * code + m; nibbles as in Q4_0, the fifth bit of value i is bit i of qh.
#include "decode/common.glsl"
#define SECOND 16u
#define MINIMUMS

// Where fields begin, in bytes.
const uint kQsStart = BLOCK_BYTES - 16;

// Bit j of the fifth bits, as 16.
ivec4 fifth_bits(BlockRef block, uint first) {
  const uint shift = first % 8;
  return bits4(uint(block.at.qh[first / 8]), shift) << 4;
}

Codes decode(BlockRef block, uint64_t codebooks, uint part) {
  const ivec4 bytes = load_bytes(block, kQsStart + 4 * part);
  const float d = from_f16(block.at.d), m = from_f16(block.at.m);
  return Codes(bytes & 15 | fifth_bits(block, 4 * part),
               bytes >> 4 | fifth_bits(block, 4 * part + 16), vec2(d), vec2(-m));
}
#include "decode/units.glsl"
