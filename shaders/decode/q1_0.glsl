// Q1_0: d or -d, one bit per value.
#include "decode/common.glsl"
#define SECOND 4u

void decode(BlockRef block, uint64_t codebooks, uint part, out vec4 first, out vec4 second) {
  const float d = from_f16(block.at.d);
  const uint bits = uint(block.at.qs[part]);
  first = d * vec4(2 * bits4(bits, 0) - 1);
  second = d * vec4(2 * bits4(bits, 4) - 1);
}
#include "decode/units.glsl"
