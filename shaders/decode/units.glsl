// How units (eight values, see common.glsl) are numbered within a block and a row.
#if BLOCK_VALUES == 1
#define VALUES 8u  // float formats: eight values together
#define UNIT_BYTES (8u * BLOCK_BYTES)
#else
#define VALUES uint(BLOCK_VALUES)
#define UNIT_BYTES uint(BLOCK_BYTES)
#endif
#define UNITS_PER_BLOCK (VALUES / 8u)

// The first value of unit `part` of a block.
uint unit_start(uint part) {
  return 2u * SECOND * (part / (SECOND / 4u)) + 4u * (part % (SECOND / 4u));
}

// The index in its row of the first value of a unit.
uint unit_index(uint unit) {
  return unit / UNITS_PER_BLOCK * VALUES + unit_start(unit % UNITS_PER_BLOCK);
}

// Decodes unit `unit` of a row that starts at address `row`.
void decode_unit(uint64_t row, uint64_t codebooks, uint unit, out vec4 first, out vec4 second) {
  const uint block = unit / UNITS_PER_BLOCK, part = unit % UNITS_PER_BLOCK;
  decode(BlockRef(row + uint64_t(block) * UNIT_BYTES), codebooks, part, first, second);
}

// The address of a row of `width` values, a multiple of VALUES.
uint64_t row_address(uint64_t matrix, uint row, uint width) {
  return matrix + uint64_t(row) * (uint64_t(width / VALUES) * UNIT_BYTES);
}
