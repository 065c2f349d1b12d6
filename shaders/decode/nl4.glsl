// The 16 values of IQ4_NL and IQ4_XS.
// The values that four nibbles stand for.
ivec4 nl4(uint64_t codebooks, ivec4 nibbles) {
  Bytes table = Bytes(codebooks + kCodebookNl4);
  return ivec4(table.at[nibbles.x], table.at[nibbles.y], table.at[nibbles.z], table.at[nibbles.w])
         << 24 >> 24;
}
