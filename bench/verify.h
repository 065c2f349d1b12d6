// Verify: does the work of a report again and says whether the same came out.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "bench/options.h"
#include "bench/run.h"
#include "gguf/result.h"

namespace quern::bench {

// Results of a report that can be measured together: of one model, number of threads and KV type.
struct Rerun {
  Options options;
  std::vector<size_t> results;  // index into report["results"], by test
};

// Everything that has to be run. `model`: where the model is here, empty if it is where the report
// says. Errors: "verify-empty", "verify-kv".
Result<std::vector<Rerun>> reruns(const nlohmann::ordered_json& report, const std::string& model);

// Compares a report with what the reruns gave here; `here` has one report for each. Returns
// {"rows":
// [{"title", "tokens_agree", "report_speed", "speed", "speed_agrees", "explanation"}], "agrees"}.
// `tolerance`: of speeds, as a fraction of the report's.
nlohmann::ordered_json verify(const nlohmann::ordered_json& report,
                              const std::vector<Rerun>& reruns,
                              const std::vector<nlohmann::ordered_json>& here, double tolerance);

std::string verification_text(const nlohmann::ordered_json& verification);

}  // namespace quern::bench
