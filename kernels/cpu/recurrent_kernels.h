// The inner loops of the recurrent operations, for the instruction set of this machine.
#pragma once

#include <cstddef>

#include "kernels/cpu/recurrent.h"

namespace quern::kernels::cpu {

// out[i] = Σ_j weight[i * taps + j] * u_j[i] (+ bias[i]) for i < count, j ascending, with
// u_j = rows[j] (* before[j]); a row is null where it is zero.
struct ConvSum {
  size_t taps, count;
  const float* rows[kMaxTaps];
  const float* before[kMaxTaps];
  const float* weight;
  const float* bias;
  float* out;
};
void conv_sum(const ConvSum& sum);

// One step of a strip of a state matrix S, [size][kStripColumns], `size` a multiple of 4.
// Sums over rows of S have 4 parts by row mod 4, folded 2-1.
struct StripStep {
  float* s;
  size_t size;
  float decay;
  const float *write, *read;  // [size]
};

// u = beta * (v - decay * Sᵀ write); S = decay * S + write uᵀ; out = Sᵀ read.
void delta_step(const StripStep& step, float beta, const float* v, float* out);
// S = decay * S + write (delta * x)ᵀ; out = skip * x + Sᵀ read.
void scan_step(const StripStep& step, float delta, float skip, const float* x, float* out);

}  // namespace quern::kernels::cpu
