// Q1_0: d or -d, one bit per value.
#include "decode/common.glsl"
#define SECOND 4u

Codes decode(BlockRef block, uint64_t codebooks, uint part) {
  const float d = from_f16(block.at.d);
  const uint bits = uint(block.at.qs[part]);
  return scaled(2 * bits4(bits, 0) - 1, 2 * bits4(bits, 4) - 1, d);
}
#include "decode/units.glsl"
