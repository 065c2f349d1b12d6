// IQ4_NL: d * table[nibble]; nibbles as in Q4_0.
#include "decode/common.glsl"
#define SECOND 16u

// Where fields begin, in bytes.
const uint kQsStart = BLOCK_BYTES - 16;

#include "decode/nl4.glsl"

Codes decode(BlockRef block, uint64_t codebooks, uint part) {
  const ivec4 bytes = load_bytes(block, kQsStart + 4 * part);
  const float d = from_f16(block.at.d);
  return scaled(nl4(codebooks, bytes & 15), nl4(codebooks, bytes >> 4), d);
}
#include "decode/units.glsl"
