// A report as one HTML page that needs nothing else: style, plots and figures are in it.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace quern::bench {

std::string to_html(const nlohmann::ordered_json& report);

}  // namespace quern::bench
