// The work of matvec.format.comp and matmul.format.comp for float matrices whose width 8 does not
// divide: an invocation computes one value of all rows of a tile. Push constants and grid:
// shared.h, MatmulPush.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "buffers.glsl"
#include "odd_rows.glsl"

layout(local_size_x_id = 0) in;
layout(push_constant, scalar) uniform Push { MatmulPush push; };
#include "epilogue.glsl"

// Stores value r of one output row.
void multiply(uint expert, uint r, uint row) {
  const uint64_t start = uint64_t(expert * push.out_width + r) * push.in_width;
  const uint64_t x_row = input_row(row);
  float product = 0, up = 0, squares = 0;
  for (uint k = 0; k < push.in_width; ++k) {
    float x = Floats(x_row).at[k];
    squares += x * x;
    if (push.norm != 0) x *= Floats(push.norm).at[k];
    product += x * odd_value(push.weight, start + k);
    if (push.up != 0) up += x * odd_value(push.up, start + k);
  }
  float factor = 1;
  if (push.norm != 0) factor = inversesqrt(squares / float(push.in_width) + push.epsilon);
  store_product(expert, row, r, factor * product, factor * up);
}

void main() {
  const ExpertTile rows = find_rows(gl_WorkGroupID.z, kMatmulTile);
  const uint group = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
  const uint r = group * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (r >= push.out_width) return;
  for (uint t = 0; t < rows.count; ++t) multiply(rows.expert, r, output_row(rows.start + t));
}
