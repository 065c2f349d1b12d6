// out[row] = add[row] + Σ share * product over the row's experts, best first. Push constants and
// grid: shared.h, SumExpertsPush.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "buffers.glsl"

layout(local_size_x_id = 0) in;
layout(push_constant, scalar) uniform Push { SumExpertsPush push; };

void main() {
  const uint i = gl_GlobalInvocationID.x, row = gl_WorkGroupID.y;
  if (i >= push.width) return;
  float sum = 0;
  for (uint slot = row * push.used; slot < (row + 1) * push.used; ++slot) {
    sum += Floats(push.shares).at[slot] * Floats(push.products).at[slot * push.width + i];
  }
  if (push.add != 0) sum += Floats(push.add).at[row * push.width + i];
  Floats(push.out_rows).at[row * push.width + i] = sum;
}
