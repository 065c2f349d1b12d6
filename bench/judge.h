// Judge: says in words why a report should not be published, and what to do about it.
#pragma once

#include <nlohmann/json.hpp>

namespace quern::bench {

// Looks at a report and sets report["warnings"] (code, result index or null, message) and
// report["publishable"].
void judge(nlohmann::ordered_json& report);

}  // namespace quern::bench
