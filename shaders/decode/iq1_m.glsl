// IQ1_M: per 8 values an 11-bit codebook index and a shift; 3-bit scales per 16; d in nibbles.
#include "decode/common.glsl"
#define SECOND 4u

#include "decode/shifted_run.glsl"

// The upper nibbles of the four scale words together are the binary16 scale.
float block_scale(BlockRef block) {
  const uvec4 nibbles = uvec4(block.at.scales[0], block.at.scales[1], block.at.scales[2],
                              block.at.scales[3]) >> 12;
  return from_f16(uint16_t(nibbles.x | nibbles.y << 4 | nibbles.z << 8 | nibbles.w << 12));
}

Codes decode(BlockRef block, uint64_t codebooks, uint part) {
  const uint fields = uint(block.at.qh[part / 2]) >> 4 * (part % 2) & 15;
  const uint index = uint(block.at.qs[part]) | (fields & 7) << 8;
  const uint b = part / 2;  // 16 values
  const uint s = uint(block.at.scales[b / 4]) >> 3 * (b % 4) & 7;
  const float scale = block_scale(block) * float(2 * s + 1) * 0.125;
  return shifted_run(codebooks, index, fields >> 3 != 0, scale);
}
#include "decode/units.glsl"
