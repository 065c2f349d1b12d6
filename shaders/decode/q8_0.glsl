// Q8_0: d * int8.
#include "decode/common.glsl"
#define SECOND 4u

// Where fields begin, in bytes.
const uint kQsStart = BLOCK_BYTES - 32;

void decode(BlockRef block, uint64_t codebooks, uint part, out vec4 first, out vec4 second) {
  const float d = from_f16(block.at.d);
  first = d * vec4(signed_bytes(load_word(block, kQsStart + 8 * part)));
  second = d * vec4(signed_bytes(load_word(block, kQsStart + 8 * part + 4)));
}
#include "decode/units.glsl"
