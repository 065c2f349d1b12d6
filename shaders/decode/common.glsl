// What all decoders share. Each NAME.glsl in this folder gives
//   SECOND                                distance of the two runs of a unit, in values
//   Codes decode(block, codebooks, part)  unit `part` of a block, eight values
//   MINIMUMS                              defined if Codes::minimum is used
// A unit's first run is values i … i + 3 with i = unit_start(part) (units.glsl), its second one
// i + SECOND … i + SECOND + 3: runs whose codes share bytes. Values equal those of the scalar
// decode to the bit, but for a device that flushes subnormal numbers to zero. Float formats have no codes:
// they define NO_CODES and give decode(block, part, first, second). Scales stay the same over four
// units from one that 4 divides: of both runs if SECOND is 16 or more; else over two of them, and
// equal for both runs. Included through format.glsl, which defines BLOCK, BLOCK_VALUES and
// BLOCK_BYTES; float formats count eight values as a block (VALUES).
#include "gguf/block_layout.h"

// Blocks start where their size allows.
#if BLOCK_BYTES % 16 == 0
#define BLOCK_ALIGN 16
#elif BLOCK_BYTES % 4 == 0
#define BLOCK_ALIGN 4
#elif BLOCK_BYTES % 2 == 0
#define BLOCK_ALIGN 2
#else
#define BLOCK_ALIGN 1
#endif
layout(buffer_reference, scalar, buffer_reference_align = BLOCK_ALIGN) readonly buffer BlockRef {
  BLOCK at;
};

// A unit's values: scale * code - minimum.
struct Codes {
  ivec4 first, second;  // -128 … 127
  vec2 scale, minimum;  // of the first run, of the second
};

// Both runs with one scale, without minimums.
Codes scaled(ivec4 first, ivec4 second, float scale) {
  return Codes(first, second, vec2(scale), vec2(0));
}

// The four bytes of a word, lowest first, and as signed numbers.
ivec4 bytes_of(uint word) { return ivec4(uvec4(word) >> uvec4(0, 8, 16, 24) & 255u); }
ivec4 signed_bytes(uint word) { return ivec4(int(word)) << ivec4(24, 16, 8, 0) >> 24; }

// Four bytes of a block as a word, from byte `start`, which BLOCK_ALIGN divides if it is below 4,
// and else 4: in as few loads as possible.
uint load_word(BlockRef block, uint start) {
  const uint64_t address = uint64_t(block) + start;
#if BLOCK_ALIGN >= 4
  return Words(address).at[0];
#elif BLOCK_ALIGN == 2
  return uint(Halves(address).at[0]) | uint(Halves(address).at[1]) << 16;
#else
  return uint(Bytes(address).at[0]) | uint(Bytes(address).at[1]) << 8 |
         uint(Bytes(address).at[2]) << 16 | uint(Bytes(address).at[3]) << 24;
#endif
}

ivec4 load_bytes(BlockRef block, uint start) { return bytes_of(load_word(block, start)); }

float from_f16(uint16_t bits) { return unpackHalf2x16(uint(bits)).x; }

// Bits first … first + 3 of a word.
ivec4 bits4(uint word, uint first) {
  return ivec4(uvec4(word) >> (uvec4(0, 1, 2, 3) + first) & 1u);
}

// Word `index` of the codebook that starts at byte `start` (shared.h) of the codebooks.
uint codebook_word(uint64_t codebooks, uint start, uint index) {
  return Words(codebooks + start).at[index];
}

// Magnitudes with signs: bit j set negates value j.
ivec4 with_signs(ivec4 magnitudes, uint signs) { return magnitudes * (1 - 2 * bits4(signs, 0)); }
