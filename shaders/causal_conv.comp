// Depthwise causal convolution along the rows of each sequence; one invocation takes a column
// through all rows of one. Push constants and grid: shared.h, CausalConvPush.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "states.glsl"
#include "activation.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 2) const uint kTaps = 4;
layout(push_constant, scalar) uniform Push { CausalConvPush push; };

void main() {
  const uint column = gl_GlobalInvocationID.x;
  const StateRun run = StateRuns(push.runs).at[gl_WorkGroupID.y];
  if (column >= push.width || run.begin == run.end) return;
  const uint floats = (kTaps - 1) * push.width;
  float u[kTaps];  // of the last rows, the newest at the end
  for (uint j = 0; j + 1 < kTaps; ++j) {
    u[j] = read_state(push.states, run, floats, j * push.width + column);
  }
  for (uint row = run.begin; row < run.end; ++row) {
    const uint i = row * push.width + column;
    u[kTaps - 1] = Floats(push.in_rows).at[i];
    if (push.before != 0) u[kTaps - 1] *= Floats(push.before).at[i];
    float y = push.bias != 0 ? Floats(push.bias).at[column] : 0;
    for (uint j = 0; j < kTaps; ++j) y += Floats(push.weight).at[column * kTaps + j] * u[j];
    y = activate(push.activation, y);
    if (push.after != 0) y *= Floats(push.after).at[i];
    Floats(push.out_rows).at[i] = y;
    for (uint j = 0; j + 1 < kTaps; ++j) u[j] = u[j + 1];
  }
  for (uint j = 0; j + 1 < kTaps; ++j) {
    write_state(push.states, run, floats, j * push.width + column, u[j]);
  }
}
