#include "bench/os_read_linux.h"

#include <cstdlib>
#include <fstream>

namespace quern::bench {

std::optional<std::string> read_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line) || line.empty()) return std::nullopt;
  return line;
}

std::optional<double> read_number(const std::string& path) {
  const std::optional<std::string> line = read_line(path);
  if (!line) return std::nullopt;
  char* end = nullptr;
  const double value = std::strtod(line->c_str(), &end);
  if (end == line->c_str()) return std::nullopt;
  return value;
}

std::optional<std::string> read_field(const std::string& path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(key)) continue;
    const size_t start = line.find_first_not_of(" \t:", key.size());
    if (start == std::string::npos) return std::nullopt;
    return line.substr(start);
  }
  return std::nullopt;
}

}  // namespace quern::bench
