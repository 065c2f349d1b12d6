// Q8_0: d * int8.
#include "decode/common.glsl"
#define SECOND 4u

// Where fields begin, in bytes.
const uint kQsStart = BLOCK_BYTES - 32;

Codes decode(BlockRef block, uint64_t codebooks, uint part) {
  const float d = from_f16(block.at.d);
  return scaled(signed_bytes(load_word(block, kQsStart + 8 * part)),
                signed_bytes(load_word(block, kQsStart + 8 * part + 4)), d);
}
#include "decode/units.glsl"
