// IQ2_S: per 8 values a 10-bit codebook index and 8 signs, 4-bit scales per 16.
#include "decode/common.glsl"
#define SECOND 4u

#include "decode/signed_run.glsl"

Codes decode(BlockRef block, uint64_t codebooks, uint part) {
  const uint high = uint(block.at.qh[part / 4]) >> 2 * (part % 4) & 3;
  const uint s = uint(block.at.scales[part / 4]) >> 4 * (part / 2 % 2) & 15;
  const float scale = from_f16(block.at.d) * (float(s) + 0.5) * 0.25;
  const uint index = uint(block.at.qs[part]) | high << 8;
  return signed_run(codebooks, kCodebookIq2S, index, uint(block.at.signs[part]), scale);
}
#include "decode/units.glsl"
