#include "tools/sizes.h"

#include <fmt/format.h>

#include <array>

namespace quern::tools {

std::string size_text(uint64_t bytes) {
  constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  if (bytes < 1024) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  for (; value >= 1000 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  return fmt::format("{:.{}f} {}", value, value < 10 ? 2 : 1, kUnits[unit]);
}

CLI::Option* add_size_option(CLI::App& command, const std::string& name, uint64_t& bytes,
                             const std::string& help) {
  return command.add_option(name, bytes, help)
      ->transform(CLI::AsSizeValue(false))
      ->option_text("SIZE");
}

}  // namespace quern::tools
