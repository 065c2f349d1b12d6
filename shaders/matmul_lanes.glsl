// An invocation's 4 by 4 products of the tile, where invocations multiply on their own: those of
// tile rows tile_row(lane_r(), 0 … 3) of the weights with tile_row(lane_t(), 0 … 3) of x.
uint lane_r() { return gl_LocalInvocationID.x % 16; }
uint lane_t() { return gl_LocalInvocationID.x / 16; }

vec4 products[4], ups[4];  // [r][t]

void clear_products() {
  for (uint i = 0; i < 4; ++i) products[i] = ups[i] = vec4(0);
}

// values[i], by choices: an array with a variable index would not stay in registers.
vec4 pick(vec4 values[4], uint i) {
  return i == 0 ? values[0] : i == 1 ? values[1] : i == 2 ? values[2] : values[3];
}

void store_products() {
  // One copy of what follows a product: it is long, and would slow the compilation down.
  [[dont_unroll]] for (uint k = 0; k < 16; ++k) {
    store_tile_value(tile_row(lane_r(), k % 4), tile_row(lane_t(), k / 4),
                     pick(products, k % 4)[k / 4], pick(ups, k % 4)[k / 4]);
  }
}
