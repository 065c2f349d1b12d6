// Functions over arrays of f32. Element i of a result depends on element i alone: arrays are padded
// to whole vectors instead of ending in a scalar loop, so the length changes no bit.
#pragma once

#include <cstddef>

#include "kernels/op.h"

namespace quern::kernels::cpu {

// x[i] = exp(x[i] - shift). At most 1.5 ulp from the exact value; NaN stays NaN. Results below
// the smallest normal number become 0; infinity begins at 88.3763 already.
void exp_shifted(float* x, size_t count, float shift);

// x[i] = activation(x[i]) (* up[i], unless up is null); see Activation for kClampedSwiglu, which
// needs `up`.
void activate(Activation activation, float* x, const float* up, size_t count);

// x[i] = cap * tanh(x[i] * scale / cap).
void soft_cap(float* x, size_t count, float scale, float cap);

// Turns `pairs` pairs: (a, b) becomes (a cos - b sin, a sin + b cos). Pair i is (x[2i], x[2i + 1])
// if interleaved, otherwise (x[i], x[i + pairs]).
void rotate_pairs(float* x, const float* cosines, const float* sines, size_t pairs,
                  bool interleaved);

}  // namespace quern::kernels::cpu
