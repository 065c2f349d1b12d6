// Q5_K: as Q4_K with a fifth bit: bit g of qh[j] belongs to value j of group g.
#include "decode/common.glsl"
#include "decode/scales_6bit.glsl"
#define SECOND 32u
#define MINIMUMS

// Where fields begin, in bytes.
const uint kQsStart = BLOCK_BYTES - 128;
const uint kQhStart = 16;

Codes decode(BlockRef block, uint64_t codebooks, uint part) {
  const uint pair = part / 8;  // 64 values: group 2 * pair in the low nibbles, the next in the high
  const ivec4 bytes = load_bytes(block, kQsStart + 32 * pair + 4 * (part % 8));
  const ivec4 fifth = load_bytes(block, kQhStart + 4 * (part % 8)) >> 2 * pair;
  const uvec4 head = load_head(block);
  const vec2 s0 = scale_and_min(head, 2 * pair), s1 = scale_and_min(head, 2 * pair + 1);
  return Codes(bytes & 15 | (fifth & 1) << 4, bytes >> 4 | (fifth >> 1 & 1) << 4,
               vec2(s0.x, s1.x), vec2(s0.y, s1.y));
}
#include "decode/units.glsl"
