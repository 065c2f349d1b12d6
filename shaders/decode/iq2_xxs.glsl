// IQ2_XXS: per 32 values four 8-bit codebook indices, four 7-bit sign masks, a 4-bit scale.
#include "decode/common.glsl"
#define SECOND 4u

#include "decode/signed_run.glsl"

Codes decode(BlockRef block, uint64_t codebooks, uint part) {
  const uint group = part / 4, l = part % 4;
  const uint index = uint(block.at.qs[4 * group + l / 2]) >> 8 * (l % 2) & 255;
  const uint fields = uint(block.at.qs[4 * group + 2]) | uint(block.at.qs[4 * group + 3]) << 16;
  const float scale = from_f16(block.at.d) * (float(fields >> 28) + 0.5) * 0.25;
  const uint signs = sign_mask(fields >> 7 * l & 127);
  return signed_run(codebooks, kCodebookIq2Xxs, index, signs, scale);
}
#include "decode/units.glsl"
