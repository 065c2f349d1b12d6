// Q2_0: d * (code - 1), four two-bit codes per byte in value order.
#include "decode/common.glsl"
#define SECOND 4u

void decode(BlockRef block, uint64_t codebooks, uint part, out vec4 first, out vec4 second) {
  const float d = from_f16(block.at.d);
  const ivec4 shifts = ivec4(0, 2, 4, 6);
  first = d * vec4((ivec4(block.at.qs[2 * part]) >> shifts & 3) - 1);
  second = d * vec4((ivec4(block.at.qs[2 * part + 1]) >> shifts & 3) - 1);
}
#include "decode/units.glsl"
