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

#if defined(VARIANT_int8) || defined(VARIANT_fp16)
#include "matmul_codes.glsl"
#else
#include "matmul_values.glsl"
#endif

shared float factors[kMatmulTile];  // 1/rms of each row t
shared float squares[kMatmulWidth];

ExpertTile rows;
float my_squares = 0;

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

// values[i], by choices: an array with a variable index would not stay in registers.
vec4 pick(vec4 values[4], uint i) {
  return i == 0 ? values[0] : i == 1 ? values[1] : i == 2 ? values[2] : values[3];
}

void main() {
  rows = find_rows(gl_WorkGroupID.y, kMatmulTile);
  if (rows.count == 0) return;
  const uint first_output = gl_WorkGroupID.x * kMatmulTile;
  const uint lane_r = gl_LocalInvocationID.x % 16, lane_t = gl_LocalInvocationID.x / 16;
  const uint loaded = min(gl_LocalInvocationID.x / kUnits, rows.count - 1);
  const uint64_t x_row = input_row(output_row(rows.start + loaded));
  for (uint i = 0; i < 4; ++i) products[i] = ups[i] = vec4(0);
  for (uint unit = 0; unit < push.in_width / 8; unit += kUnits) {
    load_step(unit, first_output, x_row);
    barrier();
    multiply_step(lane_r, lane_t);
  }
  find_factors();
  // One copy of what follows a product: it is long, and would slow the compilation down.
  [[dont_unroll]] for (uint k = 0; k < 16; ++k) {
    const uint t = tile_row(lane_t, k / 4), r = first_output + tile_row(lane_r, k % 4);
    if (t >= rows.count || r >= push.out_width) continue;
    const float product = factors[t] * pick(products, k % 4)[k / 4];
    const float up = factors[t] * pick(ups, k % 4)[k / 4];
    store_product(rows.expert, output_row(rows.start + t), r, product, up);
  }
}
