// Products of a quantized matrix with many rows of activations, for prompts: a workgroup computes a
// tile of kMatmulTile values r by as many rows t, an invocation 4 by 4 of them. Each step takes
// four units of every row into shared memory, x times the norm's weight, in the form that the
// variant multiplies (variants.def). The factor 1/rms(x) follows at the end, from squares summed
// beside. Push constants and grid: shared.h, MatmulPush.
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "buffers.glsl"
#include "format.glsl"

layout(local_size_x_id = 0) in;  // kMatmulWidth
layout(constant_id = 2) const bool kGated = true;  // whether there is push.up
layout(push_constant, scalar) uniform Push { MatmulPush push; };
#include "epilogue.glsl"

const uint kUnits = 4;  // of a step, from each row

shared float factors[kMatmulTile];  // 1/rms of each row t
shared float squares[kMatmulWidth];

ExpertTile rows;
float my_squares = 0;

// Stores a value of the tile from its products with both matrices.
void store_tile_value(uint r, uint t, float product, float up) {
  const uint output_value = gl_WorkGroupID.x * kMatmulTile + r;
  if (t >= rows.count || output_value >= push.out_width) return;
  store_product(rows.expert, output_row(rows.start + t), output_value, factors[t] * product,
                factors[t] * up);
}

// Each gives load_weights, announce_x, store_x, clear_products, multiply_step and store_products.
#if defined(VARIANT_int8) || defined(VARIANT_fp16)
#include "matmul_codes.glsl"
#elif defined(VARIANT_coopmat)
#include "matmul_matrices.glsl"
#else
#include "matmul_values.glsl"
#endif

// A unit of x, normalized but for 1/rms.
void load_x(uint64_t x_row, uint unit, out vec4 first, out vec4 second) {
  const uint i = unit_index(unit) / 4, j = i + SECOND / 4;
  first = Vec4s(x_row).at[i];
  second = Vec4s(x_row).at[j];
  if (push.norm == 0) return;
  my_squares += dot(first, first) + dot(second, second);
  first *= Vec4s(push.norm).at[i];
  second *= Vec4s(push.norm).at[j];
}

// Loads unit `first_unit` + gl_LocalInvocationID.x % 4 of row gl_LocalInvocationID.x / 4 of all
// tiles. Rows beyond the last repeat it; units beyond the last are zeros.
void load_step(uint first_unit, uint first_output, uint64_t x_row) {
  const uint u = gl_LocalInvocationID.x % kUnits, row = gl_LocalInvocationID.x / kUnits;
  const uint unit = first_unit + u;
  const uint r = rows.expert * push.out_width + min(first_output + row, push.out_width - 1);
  const bool inside = unit < push.in_width / 8;
  vec4 x0 = vec4(0), x1 = vec4(0);
  if (inside) load_x(x_row, unit, x0, x1);
  announce_x(x0, x1);
  barrier();  // the step before has been used, and x is announced
  load_weights(u, row, unit, r, inside);
  store_x(u, row, x0, x1);
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

void main() {
  rows = find_rows(gl_WorkGroupID.y, kMatmulTile);
  if (rows.count == 0) return;
  const uint loaded = min(gl_LocalInvocationID.x / kUnits, rows.count - 1);
  const uint64_t x_row = input_row(output_row(rows.start + loaded));
  clear_products();
  for (uint unit = 0; unit < push.in_width / 8; unit += kUnits) {
    load_step(unit, gl_WorkGroupID.x * kMatmulTile, x_row);
    barrier();
    multiply_step();
  }
  find_factors();
  store_products();
}
