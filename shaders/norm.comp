// out = scale * norm(in) (+ add), one row per workgroup: RMS norm (Zhang and Sennrich 2019) or
// layer norm (Ba et al. 2016). Push constants and grid: shared.h, NormPush.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "buffers.glsl"
#include "workgroup_sum.glsl"

layout(local_size_x_id = 0) in;
layout(push_constant, scalar) uniform Push { NormPush push; };

void main() {
  const uint row = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
  const uint start = row * push.width, head = row % push.heads * push.width;
  Floats x = Floats(push.in_rows);
  float mean = 0;
  if (push.layer != 0) {
    float sum = 0;
    for (uint i = gl_LocalInvocationID.x; i < push.width; i += gl_WorkGroupSize.x) {
      sum += x.at[start + i];
    }
    mean = workgroup_sum(sum) / float(push.width);
  }
  float squares = 0;
  for (uint i = gl_LocalInvocationID.x; i < push.width; i += gl_WorkGroupSize.x) {
    squares += (x.at[start + i] - mean) * (x.at[start + i] - mean);
  }
  float factor = inversesqrt(workgroup_sum(squares) / float(push.width) + push.epsilon);
  if (push.normalized == 0) factor = 1;
  for (uint i = gl_LocalInvocationID.x; i < push.width; i += gl_WorkGroupSize.x) {
    float y = (x.at[start + i] - mean) * factor;
    if (push.weight != 0) y *= Floats(push.weight).at[head + i];
    if (push.bias != 0) y += Floats(push.bias).at[head + i];
    y *= push.scale;
    if (push.add != 0) y += Floats(push.add).at[start + i];
    Floats(push.out_rows).at[start + i] = y;
  }
}
