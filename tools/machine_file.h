// The profile of a machine as a JSON file: measured once, and carried to where a plan for another
// machine is made.
//   {"quern_machine": 1, "cpu": "...", "threads": 8, "read_bandwidth_one": 4.2e10,
//    "read_bandwidth_all": ..., "int8_peak": ..., "fp32_peak": ..., "decode_bytes": ...,
//    "prefill_operations": ..., "memory": 34359738368}
// with the members of kernels::MachineProfile and kernels::KernelRates, bytes/s and operations/s.
#pragma once

#include <cstdint>
#include <string>

#include "engine/plan_speed.h"
#include "gguf/result.h"

namespace quern::tools {

struct Machine {
  engine::MachineSpeeds speeds;
  uint64_t memory = 0;  // bytes that models may take; 0: unknown
};

// $XDG_CACHE_HOME/quern or ~/.cache/quern; empty where there is neither.
std::string cache_folder();

// Errors: "profile" (cannot be read, or is no profile).
Result<Machine> read_machine(const std::string& path);
Status write_machine(const std::string& path, Machine machine);

// This machine with `threads` threads (0: all usable processors): as stored in
// $XDG_CACHE_HOME/quern (~/.cache/quern), or measured, which takes a few seconds, and stored where
// that is possible. Errors: "out-of-memory".
Result<engine::MachineSpeeds> this_machine(size_t threads);

}  // namespace quern::tools
