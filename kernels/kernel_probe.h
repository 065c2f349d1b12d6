// How close the CPU backend's own matrix kernels come to the machine's peaks: what the planner
// predicts speed from, so that a prediction follows the kernels when they change.
#pragma once

#include <cstddef>

#include "gguf/format.h"
#include "gguf/result.h"

namespace quern::kernels {

struct KernelRates {
  double decode_bytes = 0;        // bytes/s of weights, one row at a time
  double prefill_operations = 0;  // ops/s with many rows; a multiply-add counts as two
};

// Multiplies with matrices of 268 million values, more than caches hold (150 MB in Q4_K), for about
// a second. `threads` 0: all processors. Errors: "out-of-memory".
Result<KernelRates> probe_kernels(size_t threads, gguf::Format format = gguf::Format::Q4_K);

}  // namespace quern::kernels
