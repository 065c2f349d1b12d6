// Runs of eight magnitudes from a codebook, with signs and a scale: the IQ2 formats.

// The sign mask that 7 stored bits stand for: bit 7 makes the number of ones even.
uint sign_mask(uint bits) { return bits | uint(bitCount(bits) & 1) << 7; }

// scale * codebook[index], negated where a bit of `signs` is set.
void signed_run(uint64_t codebooks, uint start, uint index, uint signs, float scale, out vec4 first,
                out vec4 second) {
  first = scale * vec4(with_signs(signed_bytes(codebook_word(codebooks, start, 2 * index)), signs));
  second = scale * vec4(with_signs(signed_bytes(codebook_word(codebooks, start, 2 * index + 1)),
                                   signs >> 4));
}
