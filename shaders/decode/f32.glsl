// F32: plain numbers.
#include "decode/common.glsl"
#define SECOND 4u
#define NO_CODES

void decode(BlockRef block, uint part, out vec4 first, out vec4 second) {
  first = Vec4s(uint64_t(block)).at[2 * part];
  second = Vec4s(uint64_t(block)).at[2 * part + 1];
}
#include "decode/units.glsl"
