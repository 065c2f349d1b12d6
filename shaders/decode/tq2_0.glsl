// TQ2_0: d * (code - 1); 32 bytes carry 128 values, two bits of a byte are 32 values apart.
#include "decode/common.glsl"
#define SECOND 32u

// Where fields begin, in bytes.
const uint kQsStart = 0;

Codes decode(BlockRef block, uint64_t codebooks, uint part) {
  const uint n = part / 16, t = part / 8 % 2 * 2;  // half of the block, first plane of two
  const ivec4 bytes = load_bytes(block, kQsStart + 32 * n + 4 * (part % 8));
  const float d = from_f16(block.at.d);
  return scaled((bytes >> 2 * t & 3) - 1, (bytes >> 2 * t + 2 & 3) - 1, d);
}
#include "decode/units.glsl"
