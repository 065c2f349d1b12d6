// Q8_0: d * int8.
#include "decode/common.glsl"
#define SECOND 4u

void decode(BlockRef block, uint64_t codebooks, uint part, out vec4 first, out vec4 second) {
  const float d = from_f16(block.at.d);
  first = d * vec4(BYTES4(block.at.qs, 8 * part) << 24 >> 24);
  second = d * vec4(BYTES4(block.at.qs, 8 * part + 4) << 24 >> 24);
}
#include "decode/units.glsl"
