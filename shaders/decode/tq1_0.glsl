// TQ1_0: d * (digit - 1), five base-3 digits per byte as a fraction of 256.
#include "decode/common.glsl"
#define SECOND 4u

// Where fields begin, in bytes.
const uint kQsStart = 0;
const uint kQhStart = 48;

// Digits i … i + 3 less one. Digit k of a byte is the integer part of 3 * (byte * 3^k mod 256) /
// 256. Values 0 … 159: 32 bytes; to 239: 16 bytes; the rest: the four bytes of qh.
ivec4 digits(BlockRef block, uint i) {
  const uint start = i < 160 ? 0 : i < 240 ? 160 : 240;
  const uint count = i < 160 ? 32 : i < 240 ? 16 : 4;
  const uint j = (i - start) % count;
  ivec4 fraction = load_bytes(block, kQsStart + j);
  if (i >= 240) {
    fraction = load_bytes(block, kQhStart + j);
  } else if (i >= 160) {
    fraction = load_bytes(block, kQsStart + 32 + j);
  }
  for (uint k = (i - start) / count; k > 0; --k) fraction = fraction * 3 & 255;
  return (fraction * 3 >> 8) - 1;
}

Codes decode(BlockRef block, uint64_t codebooks, uint part) {
  const float d = from_f16(block.at.d);
  return scaled(digits(block, 8 * part), digits(block, 8 * part + 4), d);
}
#include "decode/units.glsl"
