// Q4_K: d * scale * nibble - dmin * min, scale and min (6 bits each) per 32 values.
#include "decode/common.glsl"
#include "decode/scales_6bit.glsl"
#define SECOND 32u
#define MINIMUMS

// Where fields begin, in bytes.
const uint kQsStart = BLOCK_BYTES - 128;

Codes decode(BlockRef block, uint64_t codebooks, uint part) {
  const uint pair = part / 8;  // 64 values: group 2 * pair in the low nibbles, the next in the high
  const ivec4 bytes = load_bytes(block, kQsStart + 32 * pair + 4 * (part % 8));
  const uvec4 head = load_head(block);
  const vec2 s0 = scale_and_min(head, 2 * pair), s1 = scale_and_min(head, 2 * pair + 1);
  return Codes(bytes & 15, bytes >> 4, vec2(s0.x, s1.x), vec2(s0.y, s1.y));
}
#include "decode/units.glsl"
