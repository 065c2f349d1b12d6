// Probe: measures what this machine can do at best. These are the rooflines that bench reports a
// share of, and what the planner predicts speed from. Spec: performance, "Rooflines".
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace quern::kernels {

struct MachineProfile {
  std::string cpu;                // name of the processor
  size_t threads = 0;             // threads that "all" stands for
  double read_bandwidth_one = 0;  // bytes/s that one thread reads from memory
  double read_bandwidth_all = 0;  // bytes/s that all threads read together
  double int8_peak = 0;           // ops/s of all threads; a multiply-add counts as two
  double fp32_peak = 0;           // the same in f32
};

// What the probe may spend. The defaults take about two seconds.
struct ProbeEffort {
  uint64_t bytes = uint64_t{1} << 30;  // read per pass; less where memory is scarce
  size_t rounds = size_t{4} << 20;     // of the multiply-add chains per pass
  double seconds = 0.25;               // of passes per figure
};

// Measures with `threads` threads (0: all usable processors), each kept on a processor of its own.
// Takes the best of several passes. A bandwidth is 0 when there was no memory to read.
MachineProfile probe(size_t threads, const ProbeEffort& effort = {});

}  // namespace quern::kernels
