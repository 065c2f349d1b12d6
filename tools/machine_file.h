// The profile of a machine as a JSON file: measured once, and carried to where a plan for another
// machine is made.
//   {"quern_machine": 3, "kernels": "0123456789abcdef", "cpu": "...", "threads": 8,
//    "read_bandwidth_one": 4.2e10, "read_bandwidth_all": ..., "int8_peak": ..., "fp32_peak": ...,
//    "memory": 34359738368, "reads": [4.1e10, ...], "speeds": SPEEDS,
//    "devices": [{"name": "vulkan:0", "description": "...", "in_host_memory": false,
//                 "driver": "...", "memory": ..., "free": ..., "max_allocation": ...,
//                 "speeds": SPEEDS}]}
// with the members of kernels::MachineProfile, bytes/s and operations/s, the latest looks at the
// memory (engine::MachineSpeeds::reads), and SPEEDS
//   {"run": seconds, "operation": seconds,
//    "formats": {"q4_K": {"decode_bytes": ..., "prefill_operations": ..., "read_bandwidth": ...}}}
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "engine/device_profile.h"
#include "engine/plan_speed.h"
#include "gguf/result.h"

namespace quern::tools {

struct Machine {
  engine::MachineSpeeds speeds;
  uint64_t memory = 0;  // bytes that models may take; 0: unknown
  std::vector<engine::DeviceProfile> devices = {};
  std::string kernels = {};  // kernels::kernels_digest() of the program that measured
};

// $XDG_CACHE_HOME/quern or ~/.cache/quern; empty where there is neither.
std::string cache_folder();

// Errors: "profile" (cannot be read, or is no profile).
Result<Machine> read_machine(const std::string& path);
Status write_machine(const std::string& path, const Machine& machine);

// What must be known of this machine: with which formats the CPU (first) and each device multiply.
struct MachineNeeds {
  size_t threads = 0;  // 0: all usable processors
  std::vector<std::string> devices = {};
  std::vector<std::set<gguf::Format>> formats = {};
  bool again = false;  // measure, whatever is stored
};

// This machine as stored in $XDG_CACHE_HOME/quern (~/.cache/quern). What is missing there, or was
// measured with another processor, driver or with other kernels, is measured, which takes a few
// seconds, and stored where that is possible; so is a look at the memory, each time. Errors:
// "out-of-memory", those of engine::make_device.
Result<Machine> this_machine(const MachineNeeds& needs);

}  // namespace quern::tools
