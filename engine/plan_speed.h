// How fast a plan will run: the work of one token over what the machine can do (rooflines; Williams
// et al., "Roofline", 2009).
#pragma once

#include <cstdint>

#include "engine/memory_plan.h"
#include "kernels/kernel_probe.h"
#include "kernels/probe.h"

namespace quern::engine {

// What one token costs, from the shapes alone.
struct TokenWork {
  double weight_bytes;          // of the matrices that it reads; of experts only those used
  double cache_bytes;           // per position before it
  double matmul_operations;     // a multiply-add counts as two
  double attention_operations;  // per position before it
};
TokenWork token_work(const Model& model, kernels::CacheType cache);

// What a machine can do: its peaks, and what the matrix kernels make of them.
struct MachineSpeeds {
  kernels::MachineProfile peaks;
  kernels::KernelRates rates;
};

// Tokens per second. Measured speeds lie within `kSpeedInterval` of them on an idle machine.
struct Speed {
  double decode, prefill;
};
inline constexpr double kSpeedInterval = 0.25;

// `positions`: tokens already in the context while decoding, and the length of the prompt.
Speed predict_speed(const TokenWork& work, const MachineSpeeds& machine, uint32_t positions);

}  // namespace quern::engine
