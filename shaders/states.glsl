// The recurrent states of sequences, and which rows of a step are theirs (shared.h, StateRun).
#include "buffers.glsl"

layout(buffer_reference, scalar, buffer_reference_align = 4) readonly buffer StateRuns {
  StateRun at[];
};

// Value i of a state of `floats` values, as it was before the step.
float read_state(uint64_t states, StateRun run, uint floats, uint i) {
  if (run.from == kPadding) return 0;
  return Floats(states + uint64_t(run.from) * floats * 4).at[i];
}
void write_state(uint64_t states, StateRun run, uint floats, uint i, float x) {
  Floats(states + uint64_t(run.to) * floats * 4).at[i] = x;
}

// ln(1 + exp(x)), exact also where exp(x) is small against 1 (Goldberg 1991, theorem 4).
float softplus(float x) {
  if (x > 20) return x;
  const float y = exp(x), sum = 1 + y;
  return sum == 1 ? y : log(sum) * y / (sum - 1);
}
