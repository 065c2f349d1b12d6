// Probe: measures what this machine can do at best. These are the rooflines that bench reports a
// share of, and what the planner predicts speed from. Spec: performance, "Rooflines".
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace quern::kernels {

class PageBuffer;

struct MachineProfile {
  std::string cpu;                // name of the processor
  size_t threads = 0;             // threads that "all" stands for
  double read_bandwidth_one = 0;  // bytes/s that one thread reads from memory
  double read_bandwidth_all = 0;  // bytes/s that all threads read together
  double int8_peak = 0;           // ops/s of all threads; a multiply-add counts as two
  double fp32_peak = 0;           // the same in f32
};

// Looks at the memory: what it gives changes while a machine runs, with clocks and neighbours, so
// that the speed of kernels is only comparable to a look at the same moment.
class MemoryReader {
 public:
  // `threads`: as probe() has them. Takes 256 MiB, less where memory is scarce.
  explicit MemoryReader(size_t threads);
  ~MemoryReader();

  // Bytes/s that all threads read in so many seconds, with all that disturbs them, as it disturbs
  // everything else; 0 without memory.
  double look(double seconds = 0.3) const;

 private:
  size_t threads_;
  size_t part_;  // bytes of a thread
  std::unique_ptr<PageBuffer> buffer_;
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
