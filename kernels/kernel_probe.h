// How fast a backend's own kernels are: what the planner predicts speed from, so that a prediction
// follows the kernels when they change.
#pragma once

#include <cstddef>
#include <string_view>

#include "gguf/format.h"
#include "gguf/result.h"
#include "kernels/backend.h"
#include "kernels/probe.h"

namespace quern::kernels {

struct KernelRates {
  double decode_bytes = 0;        // bytes/s of weights, one row at a time
  double prefill_operations = 0;  // ops/s with many rows; a multiply-add counts as two
  // Bytes/s that MemoryReader saw in turns with decode_bytes, which goes up and down with it; 0:
  // memory of its own, or not measured.
  double read_bandwidth = 0;
};

// Multiplies with 640 MiB of matrices, more than caches hold, for about a second. With a `reader`,
// memory is looked at in turns with it. Errors: "out-of-memory", those of the backend.
Result<KernelRates> probe_kernels(Backend& backend, gguf::Format format,
                                  const MemoryReader* reader = nullptr);
// The same on the CPU with `threads` threads; 0: all processors.
Result<KernelRates> probe_kernels(size_t threads, gguf::Format format = gguf::Format::Q4_K);

// The same for a device that may be slow, with Q4_K: to compare the variants of its products, which
// ends after a small matrix where that takes long.
Result<KernelRates> probe_products(Backend& backend);

// What is not a matter of bytes.
struct KernelCosts {
  double run = 0;        // seconds to start a part of a program and to hand its output over
  double operation = 0;  // seconds that an operation takes at least
};
Result<KernelCosts> probe_costs(Backend& backend);

// Names the kernels that figures were measured with: 16 hexadecimal digits that change with the
// sources of the CPU's and the GPU's kernels.
std::string_view kernels_digest();

}  // namespace quern::kernels
