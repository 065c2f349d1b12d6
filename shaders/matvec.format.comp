// Products of a quantized matrix with a few rows of activations, for decoding: one subgroup
// computes kTogether values of all rows, so that what it reads of x serves them all. The RMS norm
// costs no pass of its own: y = 1/rms(x) * Σ w_k (x_k g_k), and Σ x_k² is summed beside the
// products. Push constants and grid: shared.h, MatmulPush.
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#include "buffers.glsl"
#include "format.glsl"

layout(local_size_x_id = 0) in;  // a multiple of the subgroup size
layout(constant_id = 2) const uint kRows = 1;
layout(constant_id = 3) const bool kGated = true;  // whether there is push.up
layout(push_constant, scalar) uniform Push { MatmulPush push; };
#include "epilogue.glsl"
#include "unit.glsl"

const uint kTogether = 4;  // divides kMatvecOutputs

// Sums of one invocation: of value i of row t at i * kRows + t.
float products[kTogether * kRows], ups[kTogether * kRows], squares[kRows];
XUnit xs[kRows];   // one unit of x, normalized but for 1/rms
ExpertTile rows;   // of this workgroup

shared vec2 results[kRows * kMatvecOutputs];  // [t][r]: products with `weight` and `up`

// Takes the values of x that belong to a unit. Rows beyond the last repeat it: their results are
// not stored.
void load_unit(uint unit) {
  const uint i = unit_index(unit) / 4, j = i + SECOND / 4;
  for (uint t = 0; t < kRows; ++t) {
    Vec4s x = Vec4s(input_row(output_row(rows.start + min(t, rows.count - 1))));
    vec4 x0 = x.at[i], x1 = x.at[j];
    if (push.norm != 0) {
      squares[t] += dot(x0, x0) + dot(x1, x1);
      x0 *= Vec4s(push.norm).at[i];
      x1 *= Vec4s(push.norm).at[j];
    }
    xs[t] = make_x(x0, x1);
  }
}

// Adds the products of value `i` of this subgroup's; r is its weight's row.
void add_products(uint unit, uint i, uint r) {
  WeightUnit w = load_weights(row_address(push.weight, r, push.in_width), unit);
  for (uint t = 0; t < kRows; ++t) products[i * kRows + t] += product(w, xs[t]);
  if (!kGated) return;
  w = load_weights(row_address(push.up, r, push.in_width), unit);
  for (uint t = 0; t < kRows; ++t) ups[i * kRows + t] += product(w, xs[t]);
}

// The factor 1/rms of row t.
float norm_factor(uint t) {
  if (push.norm == 0) return 1;
  return inversesqrt(subgroupAdd(squares[t]) / float(push.in_width) + push.epsilon);
}

// Values first … first + kTogether - 1 of all rows, by one subgroup.
void compute(uint first) {
  for (uint i = 0; i < kTogether * kRows; ++i) products[i] = ups[i] = 0;
  for (uint t = 0; t < kRows; ++t) squares[t] = 0;
  for (uint unit = gl_SubgroupInvocationID; unit < push.in_width / 8; unit += gl_SubgroupSize) {
    load_unit(unit);
    for (uint i = 0; i < kTogether; ++i) {
      const uint r = min(first + i, push.out_width - 1);
      add_products(unit, i, rows.expert * push.out_width + r);
    }
  }
  for (uint t = 0; t < kRows; ++t) {
    const float factor = norm_factor(t);
    for (uint i = 0; i < kTogether; ++i) {
      const float total = factor * subgroupAdd(products[i * kRows + t]);
      const float up = kGated ? factor * subgroupAdd(ups[i * kRows + t]) : 0;
      const uint r = first % kMatvecOutputs + i;
      if (subgroupElect()) results[t * kMatvecOutputs + r] = vec2(total, up);
    }
  }
}

void main() {
  rows = find_rows(gl_WorkGroupID.z, kRows);
  if (rows.count == 0) return;
  const uint first = (gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x) * kMatvecOutputs;
  for (uint i = gl_SubgroupID * kTogether; i < kMatvecOutputs; i += gl_NumSubgroups * kTogether) {
    if (first + i < push.out_width) compute(first + i);
  }
  barrier();
  for (uint i = gl_LocalInvocationID.x; i < kMatvecOutputs * kRows; i += gl_WorkGroupSize.x) {
    const uint t = i / kMatvecOutputs, r = first + i % kMatvecOutputs;
    if (t < rows.count && r < push.out_width) {
      store_product(rows.expert, output_row(rows.start + t), r, results[i].x, results[i].y);
    }
  }
}
