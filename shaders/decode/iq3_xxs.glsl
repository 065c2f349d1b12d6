// IQ3_XXS: per 4 values an 8-bit codebook index, 7-bit sign masks per 8, 4-bit scales per 32.
#include "decode/common.glsl"
#define SECOND 4u

#include "decode/signed_run.glsl"

Codes decode(BlockRef block, uint64_t codebooks, uint part) {
  const uint group = part / 4, l = part % 4;
  const uint fields =
      uint(block.at.signs_scales[2 * group]) | uint(block.at.signs_scales[2 * group + 1]) << 16;
  const float scale = from_f16(block.at.d) * (float(fields >> 28) + 0.5) * 0.5;
  const uint signs = sign_mask(fields >> 7 * l & 127);
  const uint w0 = codebook_word(codebooks, kCodebookIq3Xxs, uint(block.at.qs[2 * part]));
  const uint w1 = codebook_word(codebooks, kCodebookIq3Xxs, uint(block.at.qs[2 * part + 1]));
  return scaled(with_signs(signed_bytes(w0), signs), with_signs(signed_bytes(w1), signs >> 4),
                scale);
}
#include "decode/units.glsl"
