// Gated delta rule (Yang et al. 2025): an invocation takes a column of a head's state through the
// rows of a sequence. Push constants and grid: shared.h, GatedDeltaPush.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "states.glsl"
#include "workgroup_sum.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 2) const uint kWidth = 128;
layout(push_constant, scalar) uniform Push { GatedDeltaPush push; };

shared float q[kWidth], k[kWidth];  // of this row and head

// Loads a row's q and k, each divided by its length; q also by sqrt(kWidth).
void load_keys(uint start, uint head) {
  const uint from = start + head * kWidth;
  float q_squares = 0, k_squares = 0;
  barrier();  // those of the row before have been used
  for (uint i = gl_LocalInvocationID.x; i < kWidth; i += gl_WorkGroupSize.x) {
    q[i] = Floats(push.mixed).at[from + i];
    k[i] = Floats(push.mixed).at[from + push.key_heads * kWidth + i];
    q_squares += q[i] * q[i];
    k_squares += k[i] * k[i];
  }
  const float q_length = max(sqrt(workgroup_sum(q_squares)), push.epsilon);
  const float k_length = max(sqrt(workgroup_sum(k_squares)), push.epsilon);
  for (uint i = gl_LocalInvocationID.x; i < kWidth; i += gl_WorkGroupSize.x) {
    q[i] /= q_length * sqrt(float(kWidth));
    k[i] /= k_length;
  }
  barrier();
}

void main() {
  const uint strips = (kWidth + gl_WorkGroupSize.x - 1) / gl_WorkGroupSize.x;
  const uint head = gl_WorkGroupID.x / strips;
  const uint column = gl_WorkGroupID.x % strips * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  const StateRun run = StateRuns(push.runs).at[gl_WorkGroupID.y];
  if (run.begin == run.end) return;
  const bool used = column < kWidth;
  const uint floats = push.value_heads * kWidth * kWidth, first = head * kWidth * kWidth + column;
  const uint stride = (2 * push.key_heads + push.value_heads) * kWidth;
  float s[kWidth];
  for (uint r = 0; r < kWidth; ++r) {
    s[r] = used ? read_state(push.states, run, floats, first + r * kWidth) : 0;
  }
  for (uint row = run.begin; row < run.end; ++row) {
    load_keys(row * stride, head % push.key_heads);
    const uint i = row * push.value_heads + head;
    const float forget = exp(Floats(push.a).at[head] *
                             softplus(Floats(push.decay).at[i] + Floats(push.bias).at[head]));
    const float beta = 1 / (1 + exp(-Floats(push.beta).at[i]));
    float recalled = 0;
    for (uint r = 0; r < kWidth; ++r) {
      s[r] *= forget;
      recalled += s[r] * k[r];
    }
    const uint value = row * stride + (2 * push.key_heads + head) * kWidth + column;
    const float u = used ? beta * (Floats(push.mixed).at[value] - recalled) : 0;
    float y = 0;
    for (uint r = 0; r < kWidth; ++r) {
      s[r] += k[r] * u;
      y += s[r] * q[r];
    }
    if (used) Floats(push.out_rows).at[i * kWidth + column] = y;
  }
  for (uint r = 0; used && r < kWidth; ++r) {
    write_state(push.states, run, floats, first + r * kWidth, s[r]);
  }
}
