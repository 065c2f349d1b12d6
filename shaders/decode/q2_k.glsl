// Q2_K: d * scale * code - dmin * min, scale and min (4 bits each) per 16 values.
#include "decode/common.glsl"
#define SECOND 32u
#define MINIMUMS

// Where fields begin, in bytes.
const uint kQsStart = 16;

Codes decode(BlockRef block, uint64_t codebooks, uint part) {
  const uint n = part / 16, t = part / 8 % 2 * 2;  // half of the block, first plane of two
  const uint group = 4 * (part / 8) + part % 8 / 4;  // of 16 values
  const ivec4 bytes = load_bytes(block, kQsStart + 32 * n + 4 * (part % 8));
  const float d = from_f16(block.at.d), dmin = from_f16(block.at.dmin);
  const uint s0 = uint(block.at.scales[group]), s1 = uint(block.at.scales[group + 2]);
  return Codes(bytes >> 2 * t & 3, bytes >> 2 * t + 2 & 3, d * vec2(s0 & 15, s1 & 15),
               dmin * vec2(s0 >> 4, s1 >> 4));
}
#include "decode/units.glsl"
