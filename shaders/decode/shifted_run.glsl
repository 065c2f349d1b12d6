// Runs of eight values -1, 0, 1 from a codebook, moved up or down by 1/8: the IQ1 formats.

// scale * (8 * codebook[index] ± 1).
void shifted_run(uint64_t codebooks, uint index, bool down, float scale, out vec4 first,
                 out vec4 second) {
  const int shift = down ? -1 : 1;
  first = scale * vec4(8 * signed_bytes(codebook_word(codebooks, kCodebookIq1, 2 * index)) + shift);
  second =
      scale * vec4(8 * signed_bytes(codebook_word(codebooks, kCodebookIq1, 2 * index + 1)) + shift);
}
