// Values of float matrices in any layout, one at a time: where 8 does not divide the width, rows do
// not start where the decoders of decode/ can read.
layout(constant_id = 2) const uint kOddFormat = kOddF32;

// Value `index` of the numbers at `base`.
float odd_value(uint64_t base, uint64_t index) {
  if (kOddFormat == kOddF32) return Floats(base + 4 * index).at[0];
  const uint bits = uint(Halves(base + 2 * index).at[0]);
  return kOddFormat == kOddF16 ? unpackHalf2x16(bits).x : uintBitsToFloat(bits << 16);
}
