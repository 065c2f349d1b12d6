// Mamba-2's selective scan (Dao and Gu 2024): an invocation takes a column of a head's state through
// the rows of a sequence. Push constants and grid: shared.h, SelectiveScanPush.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "states.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 2) const uint kSize = 128;  // the state's rows
layout(push_constant, scalar) uniform Push { SelectiveScanPush push; };

shared float b[kSize], c[kSize];  // of this row and group

void main() {
  const uint strips = (push.width + gl_WorkGroupSize.x - 1) / gl_WorkGroupSize.x;
  const uint head = gl_WorkGroupID.x / strips, group = head / (push.heads / push.groups);
  const uint column = gl_WorkGroupID.x % strips * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  const StateRun run = StateRuns(push.runs).at[gl_WorkGroupID.y];
  if (run.begin == run.end) return;
  const bool used = column < push.width;
  const uint inner = push.heads * push.width, floats = inner * kSize;
  const uint first = head * kSize * push.width + column;
  const uint stride = inner + 2 * push.groups * kSize;
  float s[kSize];
  for (uint n = 0; n < kSize; ++n) {
    s[n] = used ? read_state(push.states, run, floats, first + n * push.width) : 0;
  }
  for (uint row = run.begin; row < run.end; ++row) {
    const uint start = row * stride + inner + group * kSize;
    barrier();  // those of the row before have been used
    for (uint n = gl_LocalInvocationID.x; n < kSize; n += gl_WorkGroupSize.x) {
      b[n] = Floats(push.mixed).at[start + n];
      c[n] = Floats(push.mixed).at[start + push.groups * kSize + n];
    }
    barrier();
    const float delta =
        softplus(Floats(push.step).at[row * push.heads + head] + Floats(push.bias).at[head]);
    const float forget = exp(delta * Floats(push.a).at[head]);
    const uint i = head * push.width + column;
    const float x = used ? Floats(push.mixed).at[row * stride + i] : 0;
    float y = Floats(push.skip).at[head] * x;
    for (uint n = 0; n < kSize; ++n) {
      s[n] = forget * s[n] + b[n] * (delta * x);
      y += s[n] * c[n];
    }
    if (used) Floats(push.out_rows).at[row * inner + i] = y;
  }
  for (uint n = 0; used && n < kSize; ++n) {
    write_state(push.states, run, floats, first + n * push.width, s[n]);
  }
}
