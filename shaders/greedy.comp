// The index of the largest logit of a row. Push constants and grid: shared.h, GreedyPush.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "buffers.glsl"
#include "order.glsl"

layout(local_size_x_id = 0) in;  // at most 1024
layout(push_constant, scalar) uniform Push { GreedyPush push; };

shared uint keys[1024], tokens[1024];  // the best of each invocation

void main() {
  const uint self = gl_LocalInvocationID.x;
  Floats logits = Floats(push.logits + uint64_t(gl_WorkGroupID.x) * push.width * 4);
  uint key = 0, token = self < push.vocabulary ? self : 0;
  for (uint i = self; i < push.vocabulary; i += gl_WorkGroupSize.x) {
    const uint other = order_key(logits.at[i]);
    if (other > key) {
      key = other;
      token = i;
    }
  }
  keys[self] = key;
  tokens[self] = token;
  barrier();
  if (self != 0) return;
  for (uint i = 1; i < gl_WorkGroupSize.x; ++i) {
    if (keys[i] > key || keys[i] == key && tokens[i] < token) {
      key = keys[i];
      token = tokens[i];
    }
  }
  Words(push.tokens).at[gl_WorkGroupID.x * push.stride] = token;
  if (push.values != 0) Floats(push.values).at[gl_WorkGroupID.x] = logits.at[token];
}
