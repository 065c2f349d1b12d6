// BF16: the upper halves of binary32 numbers.
#include "decode/common.glsl"
#define SECOND 4u
#define NO_CODES

void decode(BlockRef block, uint part, out vec4 first, out vec4 second) {
  const uvec4 words = WordQuads(uint64_t(block)).at[part];
  const uvec4 low = words << 16, high = words & 0xFFFF0000u;
  first = uintBitsToFloat(uvec4(low.x, high.x, low.y, high.y));
  second = uintBitsToFloat(uvec4(low.z, high.z, low.w, high.w));
}
#include "decode/units.glsl"
