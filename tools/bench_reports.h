// What `quern bench`, `quern bench compare` and `quern bench verify` share.
#pragma once

#include <string>

#include "bench/run.h"
#include "tools/commands.h"

namespace quern::tools {

// The report as text, ASCII only.
std::string bench_json(const bench::Json& report);

// Runs the tests with a progress line on a terminal; Ctrl-C ends them with what is done.
bench::Outcome measure_with_progress(const bench::Options& options);

void add_bench_compare(CLI::App& bench, Run& run);
void add_bench_verify(CLI::App& bench, Run& run);

}  // namespace quern::tools
