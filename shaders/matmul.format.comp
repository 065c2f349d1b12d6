// Products of a quantized matrix with many rows of activations, for prompts: a workgroup computes a
// tile of kMatmulTile values r by as many rows t, an invocation 4 by 4 of them. Each step takes
// four units of every row into shared memory, weights decoded, x times the norm's weight; a unit's
// eight values need not be neighbours, so columns of both tiles are in the order of the units. The
// factor 1/rms(x) follows at the end, from squares summed beside. Push constants and grid:
// shared.h, MatmulPush.
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "buffers.glsl"
#include "format.glsl"

layout(local_size_x_id = 0) in;  // kMatmulWidth
layout(constant_id = 2) const bool kGated = true;  // whether there is push.up
layout(push_constant, scalar) uniform Push { MatmulPush push; };
#include "epilogue.glsl"

const uint kUnits = 4;              // of a step, from each row
const uint kColumns = 8 * kUnits;   // values of a step
const uint kStride = kMatmulTile / 4 + 1;  // vec4 per column, one of them padding

// [column][tile row], four rows of the tile in a vec4.
shared vec4 weight_tile[kColumns * kStride], x_tile[kColumns * kStride];
shared vec4 up_tile[kGated ? kColumns * kStride : 1];
shared float factors[kMatmulTile];      // 1/rms of each row t
shared float squares[kMatmulWidth];

ExpertTile rows;
vec4 products[4], ups[4];  // [r][t]
float my_squares = 0;

#define STORE_UNIT(tile, unit, row, first, second)               \
  for (uint c = 0; c < 4; ++c) {                                 \
    tile[(8 * unit + c) * kStride + row / 4][row % 4] = first[c]; \
    tile[(8 * unit + 4 + c) * kStride + row / 4][row % 4] = second[c]; \
  }

// Loads unit `first_unit` + gl_LocalInvocationID.x % 4 of row gl_LocalInvocationID.x / 4 of all
// tiles. Rows beyond the last repeat it; units beyond the last are zeros.
void load_step(uint first_unit, uint first_output, uint64_t x_row) {
  const uint u = gl_LocalInvocationID.x % kUnits, row = gl_LocalInvocationID.x / kUnits;
  const uint unit = first_unit + u;
  const uint r = rows.expert * push.out_width + min(first_output + row, push.out_width - 1);
  vec4 w0 = vec4(0), w1 = vec4(0), u0 = vec4(0), u1 = vec4(0), x0 = vec4(0), x1 = vec4(0);
  if (unit < push.in_width / 8) {
    const uint i = unit_index(unit) / 4, j = i + SECOND / 4;
    decode_unit(row_address(push.weight, r, push.in_width), push.codebooks, unit, w0, w1);
    if (kGated) {
      decode_unit(row_address(push.up, r, push.in_width), push.codebooks, unit, u0, u1);
    }
    x0 = Vec4s(x_row).at[i];
    x1 = Vec4s(x_row).at[j];
    if (push.norm != 0) {
      my_squares += dot(x0, x0) + dot(x1, x1);
      x0 *= Vec4s(push.norm).at[i];
      x1 *= Vec4s(push.norm).at[j];
    }
  }
  STORE_UNIT(weight_tile, u, row, w0, w1)
  if (kGated) {
    STORE_UNIT(up_tile, u, row, u0, u1)
  }
  STORE_UNIT(x_tile, u, row, x0, x1)
}

void multiply_step(uint tile_r, uint tile_t) {
  for (uint c = 0; c < kColumns; ++c) {
    const vec4 w = weight_tile[c * kStride + tile_r], x = x_tile[c * kStride + tile_t];
    for (uint i = 0; i < 4; ++i) products[i] += w[i] * x;
    if (kGated) {
      const vec4 u = up_tile[c * kStride + tile_r];
      for (uint i = 0; i < 4; ++i) ups[i] += u[i] * x;
    }
  }
}

// factors, from the squares of the kUnits invocations that loaded a row.
void find_factors() {
  squares[gl_LocalInvocationID.x] = my_squares;
  barrier();
  if (gl_LocalInvocationID.x < kMatmulTile) {
    float sum = 0;
    for (uint i = 0; i < kUnits; ++i) sum += squares[gl_LocalInvocationID.x * kUnits + i];
    const float mean = sum / float(push.in_width);
    factors[gl_LocalInvocationID.x] = push.norm != 0 ? inversesqrt(mean + push.epsilon) : 1;
  }
  barrier();
}

// values[i], by choices: an array with a variable index would not stay in registers.
vec4 pick(vec4 values[4], uint i) {
  return i == 0 ? values[0] : i == 1 ? values[1] : i == 2 ? values[2] : values[3];
}

void main() {
  rows = find_rows(gl_WorkGroupID.y, kMatmulTile);
  if (rows.count == 0) return;
  const uint first_output = gl_WorkGroupID.x * kMatmulTile;
  const uint tile_r = gl_LocalInvocationID.x % 16, tile_t = gl_LocalInvocationID.x / 16;
  const uint loaded = min(gl_LocalInvocationID.x / kUnits, rows.count - 1);
  const uint64_t x_row = input_row(output_row(rows.start + loaded));
  for (uint i = 0; i < 4; ++i) products[i] = ups[i] = vec4(0);
  for (uint unit = 0; unit < push.in_width / 8; unit += kUnits) {
    barrier();  // the step before has been used
    load_step(unit, first_output, x_row);
    barrier();
    multiply_step(tile_r, tile_t);
  }
  find_factors();
  // One copy of what follows a product: it is long, and would slow the compilation down.
  [[dont_unroll]] for (uint k = 0; k < 16; ++k) {
    const uint t = 4 * tile_t + k / 4, r = first_output + 4 * tile_r + k % 4;
    if (t >= rows.count || r >= push.out_width) continue;
    const float product = factors[t] * pick(products, k % 4)[k / 4];
    const float up = factors[t] * pick(ups, k % 4)[k / 4];
    store_product(rows.expert, output_row(rows.start + t), r, product, up);
  }
}
