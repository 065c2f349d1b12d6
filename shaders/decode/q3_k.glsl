// Q3_K: d * (scale - 32) * (code - 4), 6-bit scales per 16 values, the third bit in hmask.
#include "decode/common.glsl"
#define SECOND 32u

// Where fields begin, in bytes.
const uint kQsStart = 32;
const uint kHmaskStart = 0;

// The scale of 16 values, -32 … 31.
float scale(BlockRef block, uint group) {
  const int low = int(block.at.scales[group % 8]) >> 4 * (group / 8) & 15;
  const int high = int(block.at.scales[8 + group % 4]) >> 2 * (group / 4) & 3;
  return float((low | high << 4) - 32);
}

Codes decode(BlockRef block, uint64_t codebooks, uint part) {
  const uint n = part / 16, t = part / 8 % 2 * 2;  // half of the block, first plane of two
  const uint group = 4 * (part / 8) + part % 8 / 4;  // of 16 values
  const ivec4 bytes = load_bytes(block, kQsStart + 32 * n + 4 * (part % 8));
  const ivec4 high = load_bytes(block, kHmaskStart + 4 * (part % 8)) >> 4 * n + t;
  const float d = from_f16(block.at.d);
  return Codes((bytes >> 2 * t & 3) + 4 * (high & 1) - 4,
               (bytes >> 2 * t + 2 & 3) + 4 * (high >> 1 & 1) - 4,
               d * vec2(scale(block, group), scale(block, group + 2)), vec2(0));
}
#include "decode/units.glsl"
