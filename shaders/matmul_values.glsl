// The tiles of matmul.format.comp as f32 values: a unit's eight values need not be neighbours, so
// columns of all tiles are in the order of the units.
const uint kColumns = 8 * kUnits;          // values of a step
const uint kStride = kMatmulTile / 4 + 1;  // vec4 per column, one of them padding

// [column][tile row], four rows of the tile in a vec4.
shared vec4 weight_tile[kColumns * kStride], x_tile[kColumns * kStride];
shared vec4 up_tile[kGated ? kColumns * kStride : 1];

// The tile's row of an invocation's value i … 3.
uint tile_row(uint lane, uint i) { return 4 * lane + i; }
#include "matmul_lanes.glsl"

#define STORE_UNIT(tile, u, row, first, second)                            \
  for (uint c = 0; c < 4; ++c) {                                           \
    tile[(8 * u + c) * kStride + row / 4][row % 4] = first[c];             \
    tile[(8 * u + 4 + c) * kStride + row / 4][row % 4] = second[c];        \
  }

#include "matmul_loads.glsl"

void multiply_step() {
  for (uint c = 0; c < kColumns; ++c) {
    const vec4 w = weight_tile[c * kStride + lane_r()], x = x_tile[c * kStride + lane_t()];
    for (uint i = 0; i < 4; ++i) products[i] += w[i] * x;
    if (kGated) {
      const vec4 u = up_tile[c * kStride + lane_r()];
      for (uint i = 0; i < 4; ++i) ups[i] += u[i] * x;
    }
  }
}
