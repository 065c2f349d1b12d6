// IQ1_S: per 8 values an 11-bit codebook index; per 32 a 3-bit scale and a shift up or down.
#include "decode/common.glsl"
#define SECOND 4u

#include "decode/shifted_run.glsl"

Codes decode(BlockRef block, uint64_t codebooks, uint part) {
  const uint fields = uint(block.at.qh[part / 4]);
  const uint index = uint(block.at.qs[part]) | (fields >> 3 * (part % 4) & 7) << 8;
  const float scale = from_f16(block.at.d) * float(2 * (fields >> 12 & 7) + 1) * 0.125;
  return shifted_run(codebooks, index, fields >> 15 != 0, scale);
}
#include "decode/units.glsl"
