// Small reads from /proc and /sys.
#pragma once

#include <optional>
#include <string>

namespace quern::bench {

// The first line of a file without its end; nullopt if it cannot be read or is empty.
std::optional<std::string> read_line(const std::string& path);
std::optional<double> read_number(const std::string& path);
// What follows `key` and colon, blanks or tabs in a file of such lines.
std::optional<std::string> read_field(const std::string& path, const std::string& key);

}  // namespace quern::bench
