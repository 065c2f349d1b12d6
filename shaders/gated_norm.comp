// RMS norm of heads, in place, times a gate before or after it. Push constants and grid: shared.h,
// GatedNormPush.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "buffers.glsl"
#include "activation.glsl"
#include "workgroup_sum.glsl"

layout(local_size_x_id = 0) in;
layout(push_constant, scalar) uniform Push { GatedNormPush push; };

float gate(uint i) {
  return push.gate == 0 ? 1 : activate(push.activation, Floats(push.gate).at[i]);
}

void main() {
  const uint head = gl_WorkGroupID.x;
  const uint start = (gl_WorkGroupID.y * gl_NumWorkGroups.x + head) * push.width;
  const uint weight = push.own_head != 0 ? head * push.width : 0;
  Floats x = Floats(push.x);
  float squares = 0;
  for (uint i = gl_LocalInvocationID.x; i < push.width; i += gl_WorkGroupSize.x) {
    if (push.gate_first != 0) x.at[start + i] *= gate(start + i);
    squares += x.at[start + i] * x.at[start + i];
  }
  const float mean = workgroup_sum(squares) / float(push.width);
  const float factor = push.scale * (push.normalized != 0 ? inversesqrt(mean + push.epsilon) : 1);
  for (uint i = gl_LocalInvocationID.x; i < push.width; i += gl_WorkGroupSize.x) {
    float y = x.at[start + i] * factor;
    if (push.weight != 0) y *= Floats(push.weight).at[weight + i];
    if (push.gate_first == 0) y *= gate(start + i);
    x.at[start + i] = y;
  }
}
