// Products of a quantized matrix with a few rows of activations, for decoding: one subgroup computes
// one value of all rows. The RMS norm costs no pass of its own: y = 1/rms(x) * Σ w_k (x_k g_k), and
// Σ x_k² is summed beside the products. Push constants and grid: shared.h, MatmulPush.
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#include "buffers.glsl"
#include "format.glsl"

layout(local_size_x_id = 0) in;  // a multiple of the subgroup size
layout(constant_id = 2) const uint kRows = 1;
layout(push_constant, scalar) uniform Push { MatmulPush push; };
#include "epilogue.glsl"

// Sums of one invocation for each row t.
float products[kRows], ups[kRows], squares[kRows];

ExpertTile rows;  // of this workgroup

// Adds the products of one unit: eight weights at values i … and j … of every row. Rows beyond the
// last repeat it: their results are not stored.
void add_unit(uint unit, uint64_t weight, uint64_t up) {
  vec4 w0, w1, u0, u1, g0 = vec4(1), g1 = vec4(1);
  const uint i = decode_unit(weight, push.codebooks, unit, w0, w1) / 4, j = i + SECOND / 4;
  if (push.up != 0) decode_unit(up, push.codebooks, unit, u0, u1);
  if (push.norm != 0) {
    g0 = Vec4s(push.norm).at[i];
    g1 = Vec4s(push.norm).at[j];
  }
  for (uint t = 0; t < kRows; ++t) {
    Vec4s x = Vec4s(input_row(output_row(rows.start + min(t, rows.count - 1))));
    const vec4 x0 = x.at[i], x1 = x.at[j];
    if (push.norm != 0) squares[t] += dot(x0, x0) + dot(x1, x1);
    products[t] += dot(w0, x0 * g0) + dot(w1, x1 * g1);
    if (push.up != 0) ups[t] += dot(u0, x0 * g0) + dot(u1, x1 * g1);
  }
}

// Value r of all rows, by one subgroup.
void compute(uint r) {
  const uint weight_row = rows.expert * push.out_width + r;
  const uint64_t weight = row_address(push.weight, weight_row, push.in_width);
  const uint64_t up = row_address(push.up, weight_row, push.in_width);
  for (uint t = 0; t < kRows; ++t) products[t] = ups[t] = squares[t] = 0;
  for (uint unit = gl_SubgroupInvocationID; unit < push.in_width / 8; unit += gl_SubgroupSize) {
    add_unit(unit, weight, up);
  }
  for (uint t = 0; t < kRows; ++t) {
    float norm = 1;
    if (push.norm != 0) {
      norm = inversesqrt(subgroupAdd(squares[t]) / float(push.in_width) + push.epsilon);
    }
    const float product = norm * subgroupAdd(products[t]), other = norm * subgroupAdd(ups[t]);
    if (subgroupElect() && t < rows.count) {
      store_product(rows.expert, output_row(rows.start + t), r, product, other);
    }
  }
}

void main() {
  rows = find_rows(gl_WorkGroupID.z, kRows);
  if (rows.count == 0) return;
  const uint first = (gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x) * kMatvecOutputs;
  for (uint i = gl_SubgroupID; i < kMatvecOutputs; i += gl_NumSubgroups) {
    if (first + i < push.out_width) compute(first + i);
  }
}
