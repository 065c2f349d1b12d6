// Copies a piece of every head of a row. Push constants and grid: shared.h, ArrangePush.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "buffers.glsl"

layout(local_size_x_id = 0) in;
layout(push_constant, scalar) uniform Push { ArrangePush push; };

void main() {
  const uint head = gl_GlobalInvocationID.x / push.width, i = gl_GlobalInvocationID.x % push.width;
  const uint row = gl_WorkGroupID.y;
  if (head >= push.heads) return;
  Floats(push.out_rows).at[(row * push.heads + head) * push.head_width + push.to + i] =
      Floats(push.in_rows).at[row * push.in_width + push.first + head * push.stride + i];
}
