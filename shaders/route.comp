// Chooses the experts of a row, and their shares, by counting for each expert how many are better.
// Push constants and grid: shared.h, RoutePush.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "buffers.glsl"
#include "order.glsl"
#include "workgroup_sum.glsl"

layout(local_size_x_id = 0) in;
layout(push_constant, scalar) uniform Push { RoutePush push; };

const float kSmallestSum = 6.103515625e-5;  // of shares before they are divided by it

shared float gates[kMaxExperts];  // p
shared float scores[kMaxExperts];
shared uint keys[kMaxExperts];        // of the scores; 0 where a group is out
shared uint group_keys[kMaxExperts];  // of the groups' scores
shared float chosen[kMaxExperts];     // p by rank
shared float factors[kMaxExperts];    // by rank

// gates = softmax or sigmoid of the row's logits.
void compute_gates(uint row) {
  Floats logits = Floats(push.logits + uint64_t(row) * push.experts * 4);
  float largest = logits.at[0];
  for (uint e = 1; e < push.experts; ++e) largest = max(largest, logits.at[e]);
  float sum = 0;
  for (uint e = gl_LocalInvocationID.x; e < push.experts; e += gl_WorkGroupSize.x) {
    const float x = logits.at[e];
    gates[e] = push.sigmoid != 0 ? 1 / (1 + exp(-x)) : exp(x - largest);
    sum += gates[e];
  }
  const float total = workgroup_sum(sum);
  for (uint e = gl_LocalInvocationID.x; e < push.experts; e += gl_WorkGroupSize.x) {
    if (push.sigmoid == 0) gates[e] /= total;
    scores[e] = gates[e];
    if (push.selection_bias != 0) scores[e] += Floats(push.selection_bias).at[e];
    // Logits tell experts apart whose p are both 0 or 1.
    const bool by_logit = push.selection_bias == 0 && push.groups == 1;
    keys[e] = order_key(by_logit ? logits.at[e] : scores[e]);
  }
  barrier();
}

// The two best scores of a group together.
float group_score(uint group, uint each) {
  uint best = group * each;
  for (uint e = best + 1; e < (group + 1) * each; ++e) best = keys[e] > keys[best] ? e : best;
  if (each == 1) return scores[best];
  uint second = best == group * each ? best + 1 : group * each;
  for (uint e = second + 1; e < (group + 1) * each; ++e) {
    if (e != best && keys[e] > keys[second]) second = e;
  }
  return scores[best] + scores[second];
}

// Takes the experts of all but the best groups out.
void limit_groups() {
  const uint each = push.experts / push.groups;
  for (uint g = gl_LocalInvocationID.x; g < push.groups; g += gl_WorkGroupSize.x) {
    group_keys[g] = order_key(group_score(g, each));
  }
  barrier();
  for (uint e = gl_LocalInvocationID.x; e < push.experts; e += gl_WorkGroupSize.x) {
    const uint g = e / each;
    uint better = 0;
    for (uint h = 0; h < push.groups; ++h) {
      if (group_keys[h] > group_keys[g] || group_keys[h] == group_keys[g] && h < g) ++better;
    }
    if (better >= push.groups_used) keys[e] = 0;
  }
  barrier();
}

void choose(uint row) {
  for (uint e = gl_LocalInvocationID.x; e < push.experts; e += gl_WorkGroupSize.x) {
    uint rank = 0;
    for (uint f = 0; f < push.experts; ++f) {
      if (keys[f] > keys[e] || keys[f] == keys[e] && f < e) ++rank;
    }
    if (rank < push.used) {
      const uint slot = row * push.used + rank;
      ExpertTiles(push.tiles).at[slot] = ExpertTile(e, slot, 1);
      chosen[rank] = gates[e];
      factors[rank] = push.factors != 0 ? Floats(push.factors).at[e] : 1;
    }
  }
  barrier();
}

void main() {
  const uint row = gl_WorkGroupID.x;
  compute_gates(row);
  if (push.groups > 1) limit_groups();
  choose(row);
  float sum = 0;
  for (uint rank = 0; rank < push.used; ++rank) sum += chosen[rank];
  const float factor = push.normalized != 0 ? push.scale / max(sum, kSmallestSum) : push.scale;
  for (uint rank = gl_LocalInvocationID.x; rank < push.used; rank += gl_WorkGroupSize.x) {
    Floats(push.shares).at[row * push.used + rank] = chosen[rank] * factor * factors[rank];
  }
}
