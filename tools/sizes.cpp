#include "tools/sizes.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>

namespace quern::tools {

std::string size_text(uint64_t bytes) {
  constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  if (bytes < 1024) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  for (; value >= 1000 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  return fmt::format("{:.{}f} {}", value, value < 10 ? 2 : 1, kUnits[unit]);
}

std::optional<uint64_t> parse_size(std::string_view text) {
  double value = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  std::string unit(rest, text.data() + text.size());
  std::erase(unit, ' ');
  for (char& c : unit) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  if (unit.ends_with("IB")) unit.resize(unit.size() - 2);
  if (unit.ends_with('B')) unit.pop_back();
  constexpr std::array<std::string_view, 5> kUnits = {"", "K", "M", "G", "T"};
  const auto power = static_cast<size_t>(std::ranges::find(kUnits, unit) - kUnits.begin());
  const double bytes = std::ldexp(value, static_cast<int>(10 * power));
  if (error != std::errc() || power == kUnits.size() || !(bytes >= 1 && bytes < 0x1p60)) {
    return std::nullopt;
  }
  return static_cast<uint64_t>(bytes);
}

CLI::Option* add_size_option(CLI::App& command, const std::string& name, uint64_t& bytes,
                             const std::string& help) {
  const auto to_bytes = [](std::string& text) -> std::string {
    const auto size = parse_size(text);
    if (!size) return "a size is a number and a unit, for example 8G, 7.5GiB or 500M";
    text = std::to_string(*size);
    return {};
  };
  return command.add_option(name, bytes, help)
      ->transform(CLI::Validator(to_bytes, "", "size"))
      ->option_text("SIZE");
}

}  // namespace quern::tools
