// Runs all tests and reports what came out. The report is JSON from the start:
// docs/bench-schema.json says what is in it, and every output is made from it alone.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "bench/options.h"
#include "engine/engine.h"
#include "gguf/result.h"

namespace quern::bench {

using Json = nlohmann::ordered_json;

inline constexpr int kSchemaVersion = 1;

struct Progress {
  std::string what;     // "decode 128 at depth 0, repetition 2 of 5"
  double seconds_left;  // 0 until there is something to estimate from
};

struct Outcome {
  Json report;    // with all tests that were completed
  Status status;  // why it ended early
};

// Errors: those of gguf::File, Engine and ModelSource; "cancelled".
Outcome run(const Options& options, const engine::CancelToken& cancel,
            const std::function<void(const Progress&)>& on_progress);

}  // namespace quern::bench
