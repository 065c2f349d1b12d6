// IQ2_XS: per 8 values a 9-bit codebook index and a 7-bit sign mask, 4-bit scales per 16.
#include "decode/common.glsl"
#define SECOND 4u

#include "decode/signed_run.glsl"

Codes decode(BlockRef block, uint64_t codebooks, uint part) {
  const uint field = uint(block.at.qs[part]);
  const uint s = uint(block.at.scales[part / 4]) >> 4 * (part / 2 % 2) & 15;
  const float scale = from_f16(block.at.d) * (float(s) + 0.5) * 0.25;
  return signed_run(codebooks, kCodebookIq2Xs, field & 511, sign_mask(field >> 9), scale);
}
#include "decode/units.glsl"
