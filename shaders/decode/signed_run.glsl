// Runs of eight magnitudes from a codebook, with signs and a scale: the IQ2 formats.

// The sign mask that 7 stored bits stand for: bit 7 makes the number of ones even.
uint sign_mask(uint bits) { return bits | uint(bitCount(bits) & 1) << 7; }

// scale * codebook[index], negated where a bit of `signs` is set.
Codes signed_run(uint64_t codebooks, uint start, uint index, uint signs, float scale) {
  const uint w0 = codebook_word(codebooks, start, 2 * index);
  const uint w1 = codebook_word(codebooks, start, 2 * index + 1);
  return scaled(with_signs(signed_bytes(w0), signs), with_signs(signed_bytes(w1), signs >> 4),
                scale);
}
