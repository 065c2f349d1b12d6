// What the benchmark asks of the operating system. What a system does not tell is absent: never a
// zero that looks like a measurement.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace quern::bench {

struct ProcessMemory {
  std::optional<uint64_t> resident, peak;  // bytes, mapped files included
};
ProcessMemory process_memory();
// Starts a new peak, where the system can.
void reset_peak_memory();

// The machine at one moment. Times are in seconds.
struct Moment {
  double time = 0;                // of the steady clock
  std::optional<double> busy;     // processor time of all processes since start, all processors
  double own = 0;                 // processor time of this process
  std::optional<double> steal;    // time that the hypervisor gave to others
  std::optional<double> celsius;  // the hottest sensor of the processor
  std::optional<double> joules;   // energy counter of the processor packages
  uint64_t major_faults = 0;      // pages of this process that were read from disk
  struct Process {
    std::string name;
    double busy;  // processor time
  };
  std::map<int, Process> others;  // by process id; without this process
};
Moment now();

// Asks the system to forget these files, which nobody may have mapped; whether it did.
bool drop_from_page_cache(const std::vector<std::string>& paths);

// What is worth telling about this machine, by group: {"processor": {"model": …, …}, …}. Text,
// numbers, or null for what cannot be read.
nlohmann::ordered_json describe_machine();

}  // namespace quern::bench
