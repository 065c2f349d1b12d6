// x = cap * tanh(x / cap). Push constants and grid: shared.h, SoftCapPush.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "buffers.glsl"
#include "activation.glsl"

layout(local_size_x_id = 0) in;
layout(push_constant, scalar) uniform Push { SoftCapPush push; };

void main() {
  const uint i = gl_GlobalInvocationID.x;
  if (i >= push.count) return;
  Floats(push.x).at[i] = push.cap * bounded_tanh(Floats(push.x).at[i] / push.cap);
}
