// Q2_0: d * (code - 1), four two-bit codes per byte in value order.
#include "decode/common.glsl"
#define SECOND 4u

Codes decode(BlockRef block, uint64_t codebooks, uint part) {
  const float d = from_f16(block.at.d);
  const ivec4 shifts = ivec4(0, 2, 4, 6);
  return scaled((ivec4(block.at.qs[2 * part]) >> shifts & 3) - 1,
                (ivec4(block.at.qs[2 * part + 1]) >> shifts & 3) - 1, d);
}
#include "decode/units.glsl"
