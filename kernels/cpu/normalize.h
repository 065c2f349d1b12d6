// Norms of one row.
#pragma once

#include <cstddef>

#include "kernels/cpu/context.h"

namespace quern::kernels::cpu {

// y = norm(x) over `count` values; without a weight they are only brought to length. y may be x.
// Sums have 16 parts by index mod 16, folded 8-4-2-1; a layer norm takes the mean off before it
// sums the squares.
void normalize(const Norm& norm, const NormWeights& weights, const float* x, size_t count,
               float* y);

}  // namespace quern::kernels::cpu
