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

// The block of unit `unit` in a row that starts at address `row`.
BlockRef unit_block(uint64_t row, uint unit) {
  return BlockRef(row + uint64_t(unit / UNITS_PER_BLOCK) * UNIT_BYTES);
}

#ifndef NO_CODES
Codes unit_codes(uint64_t row, uint64_t codebooks, uint unit) {
  return decode(unit_block(row, unit), codebooks, unit % UNITS_PER_BLOCK);
}
#endif

// The values of unit `unit` of a row.
void decode_unit(uint64_t row, uint64_t codebooks, uint unit, out vec4 first, out vec4 second) {
#ifdef NO_CODES
  decode(unit_block(row, unit), unit % UNITS_PER_BLOCK, first, second);
#else
  const Codes codes = unit_codes(row, codebooks, unit);
  first = codes.scale.x * vec4(codes.first);
  second = codes.scale.y * vec4(codes.second);
#ifdef MINIMUMS
  first -= codes.minimum.x;
  second -= codes.minimum.y;
#endif
#endif
}

// The address of a row of `width` values, a multiple of VALUES.
uint64_t row_address(uint64_t matrix, uint row, uint width) {
  return matrix + uint64_t(row) * (uint64_t(width / VALUES) * UNIT_BYTES);
}
