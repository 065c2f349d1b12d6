// Runs of eight values -1, 0, 1 from a codebook, moved up or down by 1/8: the IQ1 formats.

// scale * (8 * codebook[index] ± 1).
Codes shifted_run(uint64_t codebooks, uint index, bool down, float scale) {
  const int shift = down ? -1 : 1;
  const uint w0 = codebook_word(codebooks, kCodebookIq1, 2 * index);
  const uint w1 = codebook_word(codebooks, kCodebookIq1, 2 * index + 1);
  return scaled(8 * signed_bytes(w0) + shift, 8 * signed_bytes(w1) + shift, scale);
}
