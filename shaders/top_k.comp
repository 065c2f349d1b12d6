// The k largest logits of a row: a radix search for the key of the k-th, eight bits at a time, then
// all that are larger, then as many equal ones as are missing, lower indices first. Push constants
// and grid: shared.h, TopKPush.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "buffers.glsl"
#include "order.glsl"

layout(local_size_x_id = 0) in;  // kTopKWidth
layout(push_constant, scalar) uniform Push { TopKPush push; };

shared uint counts[256];                       // of each digit, or of each invocation
shared uint keys[kMaxTopK], tokens[kMaxTopK];  // those found, in any order
shared uint found;
shared uint prefix, missing;  // digits of the k-th key so far; how many of its equals are wanted

uint self;
Floats logits;

// One round: among keys that begin with `prefix`, finds the digit at `shift` of the wanted one.
void find_digit(uint shift) {
  counts[self] = 0;
  barrier();
  const uint mask = shift == 24 ? 0 : 0xFFFFFFFFu << shift + 8;
  for (uint i = self; i < push.vocabulary; i += kTopKWidth) {
    const uint key = order_key(logits.at[i]);
    if ((key & mask) == prefix) atomicAdd(counts[key >> shift & 255], 1);
  }
  barrier();
  uint larger = 0;
  for (uint digit = self + 1; digit < 256; ++digit) larger += counts[digit];
  const uint wanted = missing;
  barrier();
  if (larger < wanted && larger + counts[self] >= wanted) {  // true for one digit
    prefix |= self << shift;
    missing = wanted - larger;
  }
  barrier();
}

void add(uint key, uint token) {
  const uint place = atomicAdd(found, 1);
  keys[place] = key;
  tokens[place] = token;
}

// Every invocation looks through a stretch of its own, so that equals come in ascending order.
void add_equals() {
  const uint stretch = (push.vocabulary + kTopKWidth - 1) / kTopKWidth;
  const uint begin = min(self * stretch, push.vocabulary);
  const uint end = min(begin + stretch, push.vocabulary);
  uint equals = 0;
  for (uint i = begin; i < end; ++i) equals += uint(order_key(logits.at[i]) == prefix);
  counts[self] = equals;
  barrier();
  uint before = 0;
  for (uint i = 0; i < self; ++i) before += counts[i];
  for (uint i = begin; i < end && before < missing; ++i) {
    if (order_key(logits.at[i]) != prefix) continue;
    add(prefix, i);
    ++before;
  }
}

void main() {
  self = gl_LocalInvocationID.x;
  logits = Floats(push.logits + uint64_t(gl_WorkGroupID.x) * push.width * 4);
  if (self == 0) {
    found = prefix = 0;
    missing = push.k;
  }
  barrier();
  for (uint round = 0; round < 4; ++round) find_digit(24 - 8 * round);
  for (uint i = self; i < push.vocabulary; i += kTopKWidth) {
    const uint key = order_key(logits.at[i]);
    if (key > prefix) add(key, i);
  }
  add_equals();
  barrier();
  if (self >= push.k) return;
  uint rank = 0;
  for (uint i = 0; i < push.k; ++i) {
    if (keys[i] > keys[self] || keys[i] == keys[self] && tokens[i] < tokens[self]) ++rank;
  }
  const uint out_index = gl_WorkGroupID.x * push.k + rank;
  Words(push.tokens).at[out_index] = tokens[self];
  Floats(push.values).at[out_index] = logits.at[tokens[self]];
}
