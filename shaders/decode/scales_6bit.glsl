// The head of a Q4_K or Q5_K block, 16 bytes: d, dmin, then scales and minimums of eight groups of
// 32 values, six bits each, in three words.

uvec4 load_head(BlockRef block) { return WordQuads(uint64_t(block)).at[0]; }

// d * scale and dmin * minimum of a group. The upper two bits of groups 4 … 7 are in the bytes of
// groups 0 … 3.
vec2 scale_and_min(uvec4 head, uint group) {
  const uvec3 bytes = head.yzw >> 8 * (group % 4) & 255u;
  const uvec2 upper = bytes.xy >> 6 << 4, later = uvec2(bytes.z & 15, bytes.z >> 4) | upper;
  return unpackHalf2x16(head.x) * vec2(group < 4 ? bytes.xy & 63u : later);
}
