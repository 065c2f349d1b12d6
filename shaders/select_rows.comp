// out[i] = in[rows[i]]: the rows of the batch whose logits are wanted.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "buffers.glsl"

layout(local_size_x_id = 0) in;
layout(push_constant, scalar) uniform Push { SelectRowsPush push; };

void main() {
  const uint column = gl_GlobalInvocationID.x, row = gl_WorkGroupID.y;
  if (column >= push.width) return;
  const uint source = Words(push.indices).at[row];
  Floats(push.out_rows).at[row * push.width + column] =
      Floats(push.in_rows).at[source * push.width + column];
}
