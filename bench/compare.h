// Compares reports test by test.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "gguf/result.h"

namespace quern::bench {

struct NamedReport {
  std::string name;
  nlohmann::ordered_json report;  // as read_report() returns it
};

// {"base", "rows": [{"report", "test", "tokens", "depth", "kv", "base", "speed", "ratio", "ci95"}],
// "warnings": […]}: every report against the first. Results belong together when test, tokens,
// depth and KV type are equal; what else differs is said. Errors: "compare-nothing" when no result
// of a report belongs to one of the first.
Result<nlohmann::ordered_json> compare(std::span<const NamedReport> reports);

std::string comparison_text(const nlohmann::ordered_json& comparison);

}  // namespace quern::bench
