// One step of every recurrent operation of op.h in plain scalar C++, written like its formula: f32
// values and states, sums in double. `state` is changed in place; all arrays belong to one row.
#pragma once

#include "kernels/op.h"

namespace quern::kernels::cpu::reference {

// out[width] = Σ_j weight[j] * u_{t - (taps - 1) + j} + bias, with u of this row; bias may be null.
void conv_step(const CausalConv& op, size_t width, const float* weight, const float* bias,
               const float* u, float* state, float* out);

// a, decay_bias: [value_heads].
void delta_step(const GatedDelta& op, const float* a, const float* decay_bias, const float* mixed,
                const float* decay, const float* beta, float* state, float* out);

// a, step_bias, skip: [heads].
void scan_step(const SelectiveScan& op, const float* a, const float* step_bias, const float* skip,
               const float* mixed, const float* step, float* state, float* out);

}  // namespace quern::kernels::cpu::reference
