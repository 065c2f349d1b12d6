// Q5_K: as Q4_K with a fifth bit: bit g of qh[j] belongs to value j of group g.
#include "decode/common.glsl"
#include "decode/scales_6bit.glsl"
#define SECOND 32u

// Where fields begin, in bytes.
const uint kQsStart = BLOCK_BYTES - 128;
const uint kQhStart = 16;

void decode(BlockRef block, uint64_t codebooks, uint part, out vec4 first, out vec4 second) {
  const uint pair = part / 8;  // 64 values: group 2 * pair in the low nibbles, the next in the high
  const ivec4 bytes = load_bytes(block, kQsStart + 32 * pair + 4 * (part % 8));
  const ivec4 fifth = load_bytes(block, kQhStart + 4 * (part % 8)) >> 2 * pair;
  const uvec4 head = load_head(block);
  const vec2 s0 = scale_and_min(head, 2 * pair), s1 = scale_and_min(head, 2 * pair + 1);
  first = s0.x * vec4(bytes & 15 | (fifth & 1) << 4) - s0.y;
  second = s1.x * vec4(bytes >> 4 | (fifth >> 1 & 1) << 4) - s1.y;
}
#include "decode/units.glsl"
