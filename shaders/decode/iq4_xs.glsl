// IQ4_XS: d * (scale - 32) * table[nibble], 6-bit scales per 32 values.
#include "decode/common.glsl"
#define SECOND 16u

// Where fields begin, in bytes.
const uint kQsStart = BLOCK_BYTES - 128;

#include "decode/nl4.glsl"

Codes decode(BlockRef block, uint64_t codebooks, uint part) {
  const uint group = part / 4;
  const ivec4 bytes = load_bytes(block, kQsStart + 16 * group + 4 * (part % 4));
  const int low = int(block.at.scales_l[group / 2]) >> 4 * (group % 2) & 15;
  const int high = int(block.at.scales_h) >> 2 * group & 3;
  const float scale = from_f16(block.at.d) * float((low | high << 4) - 32);
  return scaled(nl4(codebooks, bytes & 15), nl4(codebooks, bytes >> 4), scale);
}
#include "decode/units.glsl"
