// What all decoders share. Each NAME.glsl in this folder gives
//   SECOND                                      distance of the two runs of a unit, in values
//   decode(block, codebooks, part, first, second)
// which decodes unit `part` of a block, eight values: `first` are values i … i + 3 with
// i = unit_start(part), `second` are values i + SECOND … i + SECOND + 3. The two runs are those whose
// codes share bytes. Results equal those of the scalar decode to the bit, but for a device that
// flushes subnormal numbers to zero. Included through format.glsl, which defines BLOCK,
// BLOCK_VALUES and BLOCK_BYTES; float formats count eight values as a block (VALUES).
#include "gguf/block_layout.h"

layout(buffer_reference, scalar, buffer_reference_align = 1) readonly buffer BlockRef { BLOCK at; };

// Four bytes of an array as integers.
#define BYTES4(array, i) ivec4((array)[i], (array)[(i) + 1], (array)[(i) + 2], (array)[(i) + 3])

float from_f16(uint16_t bits) { return unpackHalf2x16(uint(bits)).x; }

// The four signed bytes of a word, lowest first.
ivec4 signed_bytes(uint word) { return ivec4(unpack8(int(word))); }

// Bits first … first + 3 of a word.
ivec4 bits4(uint word, uint first) { return ivec4(uvec4(word) >> (uvec4(0, 1, 2, 3) + first) & 1u); }

// Word `index` of the codebook that starts at byte `start` (shared.h) of the codebooks.
uint codebook_word(uint64_t codebooks, uint start, uint index) {
  return Words(codebooks + start).at[index];
}

// Magnitudes with signs: bit j set negates value j.
ivec4 with_signs(ivec4 magnitudes, uint signs) { return magnitudes * (1 - 2 * bits4(signs, 0)); }
