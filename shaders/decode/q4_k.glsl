// Q4_K: d * scale * nibble - dmin * min, scale and min (6 bits each) per 32 values.
#include "decode/common.glsl"
#include "decode/scales_6bit.glsl"
#define SECOND 32u

// Where fields begin, in bytes.
const uint kQsStart = BLOCK_BYTES - 128;

void decode(BlockRef block, uint64_t codebooks, uint part, out vec4 first, out vec4 second) {
  const uint pair = part / 8;  // 64 values: group 2 * pair in the low nibbles, the next in the high
  const ivec4 bytes = load_bytes(block, kQsStart + 32 * pair + 4 * (part % 8));
  const uvec4 head = load_head(block);
  const vec2 s0 = scale_and_min(head, 2 * pair), s1 = scale_and_min(head, 2 * pair + 1);
  first = s0.x * vec4(bytes & 15) - s0.y;
  second = s1.x * vec4(bytes >> 4) - s1.y;
}
#include "decode/units.glsl"
