// Q6_K: d * int8 scale * (code - 32), scale per 16 values; nibbles in ql, two more bits in qh.
#include "decode/common.glsl"
#define SECOND 64u

// Where fields begin, in bytes.
const uint kQlStart = 0;
const uint kQhStart = 128;

Codes decode(BlockRef block, uint64_t codebooks, uint part) {
  const uint n = part / 16, l = 4 * (part % 16);  // half of the block; 64 bytes of ql serve it
  const uint t = l / 32;                          // values l and l + 64 of the half share a byte
  const ivec4 low = load_bytes(block, kQlStart + 64 * n + l);
  const ivec4 high = load_bytes(block, kQhStart + 32 * n + l % 32) >> 2 * t;
  const uint group = 8 * n + l / 16;
  const float d = from_f16(block.at.d);
  const float s0 = d * float(int8_t(block.at.scales[group]));
  const float s1 = d * float(int8_t(block.at.scales[group + 4]));
  return Codes((low & 15 | (high & 3) << 4) - 32, (low >> 4 | (high >> 4 & 3) << 4) - 32,
               vec2(s0, s1), vec2(0));
}
#include "decode/units.glsl"
