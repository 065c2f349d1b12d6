// The profile of a machine as a JSON file: measured once, and carried to where a plan for another
// machine is made.
//   {"quern_machine": 1, "cpu": "...", "threads": 8, "read_bandwidth_one": 4.2e10,
//    "read_bandwidth_all": ..., "int8_peak": ..., "fp32_peak": ..., "memory": 34359738368}
#pragma once

#include <cstdint>
#include <string>

#include "gguf/result.h"
#include "kernels/probe.h"

namespace quern::tools {

struct Machine {
  kernels::MachineProfile profile;
  uint64_t memory = 0;  // bytes that models may take; 0: unknown
};

// Errors: "profile" (cannot be read, or is no profile).
Result<Machine> read_machine(const std::string& path);
Status write_machine(const std::string& path, const Machine& machine);

// This machine with `threads` threads (0: all usable processors): as stored in
// $XDG_CACHE_HOME/quern (~/.cache/quern), or measured, which takes a few seconds, and stored where
// that is possible.
kernels::MachineProfile this_machine(size_t threads);

}  // namespace quern::tools
