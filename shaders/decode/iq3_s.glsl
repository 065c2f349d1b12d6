// IQ3_S: per 4 values a 9-bit codebook index, 8 signs per 8, 4-bit scales per 32.
#include "decode/common.glsl"
#define SECOND 4u

// The magnitudes of run r of 4.
ivec4 run(BlockRef block, uint64_t codebooks, uint r) {
  const uint high = uint(block.at.qh[r / 8]) >> r % 8 & 1;
  return signed_bytes(codebook_word(codebooks, kCodebookIq3S, uint(block.at.qs[r]) | high << 8));
}

Codes decode(BlockRef block, uint64_t codebooks, uint part) {
  const uint group = part / 4;
  const uint s = uint(block.at.scales[group / 2]) >> 4 * (group % 2) & 15;
  const float scale = from_f16(block.at.d) * float(2 * s + 1);
  const uint signs = uint(block.at.signs[part]);
  return scaled(with_signs(run(block, codebooks, 2 * part), signs),
                with_signs(run(block, codebooks, 2 * part + 1), signs >> 4), scale);
}
#include "decode/units.glsl"
