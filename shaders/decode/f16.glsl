// F16: binary16 numbers.
#include "decode/common.glsl"
#define SECOND 4u
#define NO_CODES

void decode(BlockRef block, uint part, out vec4 first, out vec4 second) {
  const uvec4 words = WordQuads(uint64_t(block)).at[part];
  first = vec4(unpackHalf2x16(words.x), unpackHalf2x16(words.y));
  second = vec4(unpackHalf2x16(words.z), unpackHalf2x16(words.w));
}
#include "decode/units.glsl"
