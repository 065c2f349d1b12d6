#include "gguf/format.h"

#include <algorithm>
#include <cctype>

namespace quern::gguf {

std::optional<Format> format_from_type_id(uint32_t type_id) {
  const auto row = std::ranges::find(kFormats, type_id, &FormatInfo::type_id);
  if (row == kFormats.end()) return std::nullopt;
  return row->format;
}

std::optional<Format> format_from_name(std::string_view name) {
  const auto same = [](char a, char b) {
    return std::tolower(static_cast<unsigned char>(a)) ==
           std::tolower(static_cast<unsigned char>(b));
  };
  const auto row = std::ranges::find_if(
      kFormats, [&](const FormatInfo& f) { return std::ranges::equal(f.name, name, same); });
  if (row == kFormats.end()) return std::nullopt;
  return row->format;
}

}  // namespace quern::gguf
