// Reports that others made: files are checked before anything in them is used.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "gguf/result.h"

namespace quern::bench {

// A report of this schema version, with everything that compare() and verify() look at in place
// and of the right type. Errors: "report-open", "report-json", "report-schema".
Result<nlohmann::ordered_json> read_report(const std::string& path);
Result<nlohmann::ordered_json> parse_report(const std::string& text);

}  // namespace quern::bench
