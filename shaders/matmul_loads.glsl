// How the tiles of matmul.format.comp are filled where they hold values: STORE_UNIT(tile, u, row,
// first, second) puts the eight values of unit u into a row of a tile.

// Unit u of `row` of the weights, or zeros.
void load_weights(uint u, uint row, uint unit, uint r, bool inside) {
  vec4 first = vec4(0), second = vec4(0);
  if (inside) {
    decode_unit(row_address(push.weight, r, push.in_width), push.codebooks, unit, first, second);
  }
  STORE_UNIT(weight_tile, u, row, first, second)
  if (!kGated) return;
  if (inside) {
    decode_unit(row_address(push.up, r, push.in_width), push.codebooks, unit, first, second);
  }
  STORE_UNIT(up_tile, u, row, first, second)
}

void announce_x(vec4 first, vec4 second) {}

void store_x(uint u, uint row, vec4 first, vec4 second) { STORE_UNIT(x_tile, u, row, first, second) }
