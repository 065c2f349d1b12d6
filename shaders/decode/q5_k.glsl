// Q5_K: as Q4_K with a fifth bit: bit g of qh[j] belongs to value j of group g.
#include "decode/common.glsl"
#define SECOND 32u

// Scale and minimum of 32 values: six bits each, the upper two of groups 4 … 7 are in the bytes of
// groups 0 … 3.
vec2 scale_and_min(BlockRef block, uint group) {
  if (group < 4) return vec2(block.at.scales[group] & 63, block.at.scales[group + 4] & 63);
  const uint both = uint(block.at.scales[group + 4]);
  return vec2(both & 15 | uint(block.at.scales[group - 4]) >> 6 << 4,
              both >> 4 | uint(block.at.scales[group]) >> 6 << 4);
}

void decode(BlockRef block, uint64_t codebooks, uint part, out vec4 first, out vec4 second) {
  const uint pair = part / 8;  // 64 values: group 2 * pair in the low nibbles, the next in the high
  const ivec4 bytes = BYTES4(block.at.qs, 32 * pair + 4 * (part % 8));
  const ivec4 fifth = BYTES4(block.at.qh, 4 * (part % 8)) >> 2 * pair;
  const vec2 d = vec2(from_f16(block.at.d), from_f16(block.at.dmin));
  const vec2 s0 = d * scale_and_min(block, 2 * pair), s1 = d * scale_and_min(block, 2 * pair + 1);
  first = s0.x * vec4(bytes & 15 | (fifth & 1) << 4) - s0.y;
  second = s1.x * vec4(bytes >> 4 | (fifth >> 1 & 1) << 4) - s1.y;
}
#include "decode/units.glsl"
