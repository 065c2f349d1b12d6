// The JSON of one test, from what was measured.
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "bench/measure.h"
#include "bench/options.h"
#include "bench/os_system.h"
#include "engine/engine.h"
#include "kernels/work.h"

namespace quern::bench {

using kernels::Work;

// Everything that was measured about one test.
struct Measured {
  Test test;
  std::vector<Repetition> repetitions;
  std::vector<double> starts;      // seconds since the run began, by repetition
  std::vector<Moment> moments;     // before the first and after every repetition
  std::vector<double> core_hertz;  // at the same moments
  std::vector<double> op_seconds;  // of one more repetition, by operation
  Repetition op_repetition;        // that one
  ProcessMemory memory;
  std::optional<engine::Speed> planned;
};

// What the process takes beside what the plan allows the host.
nlohmann::ordered_json memory_json(const ProcessMemory& measured, const engine::Engine& engine);

nlohmann::ordered_json result_json(const Measured& measured, const engine::Engine& engine);

// The least work that a test can be done with on this engine.
Work work_of(const Test& test, const engine::Engine& engine);

// Adds what share of the machine's peaks was reached to every result; needs report["rooflines"].
void add_roofline_shares(nlohmann::ordered_json& report);

}  // namespace quern::bench
