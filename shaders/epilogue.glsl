// The rows of a product, and what follows it: norm, bias, activation, gate, scale and residual
// (shared.h, MatmulPush).
#include "activation.glsl"

// The rows of a workgroup: numbers start … start + count - 1, see output_row.
ExpertTile find_rows(uint tile, uint tile_rows) {
  if (push.tiles != 0) return ExpertTiles(push.tiles).at[tile];
  const uint start = tile * tile_rows;
  return ExpertTile(0, start, min(tile_rows, push.rows - min(start, push.rows)));
}

uint output_row(uint number) {
  return push.tiles != 0 && push.indices != 0 ? Words(push.indices).at[number] : number;
}

// Where the row of x starts that an output row reads.
uint64_t input_row(uint row) {
  uint x_row = row;
  if (push.tiles != 0) {
    x_row = row / (push.activation / kSlotsPerRow);
  } else if (push.indices != 0) {
    x_row = Words(push.indices).at[row];
  }
  return push.x + uint64_t(x_row) * push.in_width * 4;
}

// Stores value r of output row t from its two products; `up` counts only where push.up is given.
void store_product(uint expert, uint t, uint r, float product, float up) {
  const uint i = t * push.out_width + r, weight_row = expert * push.out_width + r;
  const uint activation = push.activation % kSlotsPerRow;
  float y = product;
  if (push.bias != 0) y += Floats(push.bias).at[weight_row];
  if (push.up != 0) {
    if (push.up_bias != 0) up += Floats(push.up_bias).at[weight_row];
    y = gated(activation, y, up);
  } else if (push.gate != 0) {
    y = gated(activation, Floats(push.gate).at[i], y);
  } else {
    y = activate(activation, y);
  }
  y *= push.scale;
  if (push.row_scale != 0) y *= Floats(push.row_scale).at[t];
  if (push.add != 0) y += Floats(push.add).at[i];
  Floats(push.out_rows).at[i] = y;
}
