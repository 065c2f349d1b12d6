// Programs of one recurrent operation, and how to run them in chunks on any backend.
#pragma once

#include <deque>

#include "tests/kernels/small_program.h"

namespace quern::test {

inline constexpr uint32_t kRecurrentRows = 48;

// A program whose `result` is one recurrent operation of embedded tokens.
struct Recurrent {
  SmallProgram small;
  kernels::ValueId result;

  explicit Recurrent(uint32_t seed) : small(seed) {}
  kernels::Program& program() { return small.program; }
};

inline Recurrent convolution(uint32_t width, uint32_t taps, bool bias, bool gates,
                             kernels::Activation activation) {
  Recurrent made(width + taps);
  kernels::CausalConv op{.in = made.small.embed(width),
                         .out = made.program().add_value(width),
                         .weight = made.small.vector(uint64_t{width} * taps, 0, 1),
                         .taps = taps,
                         .state = made.program().add_state(width * (taps - 1)),
                         .activation = activation};
  if (bias) op.bias = made.small.vector(width, 0, 1);
  if (gates) op.before = made.small.embed(width), op.after = made.small.embed(width);
  made.result = op.out;
  made.program().ops.push_back(op);
  return made;
}

inline Recurrent delta(uint32_t width, uint32_t key_heads, uint32_t value_heads) {
  Recurrent made(width);
  const kernels::GatedDelta op{.mixed = made.small.embed((2 * key_heads + value_heads) * width),
                               .decay = made.small.embed(value_heads),
                               .beta = made.small.embed(value_heads),
                               .out = made.program().add_value(value_heads * width),
                               .a = made.small.vector(value_heads, -1, 0.2f),
                               .decay_bias = made.small.vector(value_heads, -1, 1),
                               .key_heads = key_heads,
                               .value_heads = value_heads,
                               .width = width,
                               .epsilon = 1e-6f,
                               .state = made.program().add_state(value_heads * width * width)};
  made.result = op.out;
  made.program().ops.push_back(op);
  return made;
}

inline Recurrent scan(uint32_t heads, uint32_t width, uint32_t groups, uint32_t state_width) {
  Recurrent made(width);
  const kernels::SelectiveScan op{
      .mixed = made.small.embed(heads * width + 2 * groups * state_width),
      .step = made.small.embed(heads),
      .out = made.program().add_value(heads * width),
      .a = made.small.vector(heads, -1, 0.2f),
      .step_bias = made.small.vector(heads, -1, 1),
      .skip = made.small.vector(heads, 1, 0.2f),
      .heads = heads,
      .width = width,
      .groups = groups,
      .state_width = state_width,
      .state = made.program().add_state(heads * width * state_width)};
  made.result = op.out;
  made.program().ops.push_back(op);
  return made;
}

// Rows [0, kRecurrentRows) of one sequence, `chunk` at a time; slot 0 and 1 take turns.
inline std::vector<float> in_chunks(kernels::Backend& backend, const Recurrent& made,
                                    uint32_t chunk) {
  const auto cache = *backend.make_cache(made.small.program, kernels::CacheType::kF32, 0, 2);
  std::vector<float> rows;
  kernels::StateSlots slots{kernels::kAbsent, 0};
  for (uint32_t first = 0; first < kRecurrentRows; first += chunk) {
    TestBatch batch = test::one_sequence(first, std::min(kRecurrentRows, first + chunk), {});
    batch.states = {slots};
    const std::vector<float> part = run(backend, made.small, made.result, *cache, batch);
    rows.insert(rows.end(), part.begin(), part.end());
    slots = {slots.to, 1 - slots.to};
  }
  return rows;
}

}  // namespace quern::test
