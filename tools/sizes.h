// Sizes of memory as people write and read them.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace quern::tools {

// In binary units: "512 B", "96.0 MiB", "1.25 GiB".
std::string size_text(uint64_t bytes);

// "8G", "7.5 GiB" or "500MB", all in powers of 1024; nullopt for anything else, and for less
// than 1.
std::optional<uint64_t> parse_size(std::string_view text);

// An option that takes such a size.
CLI::Option* add_size_option(CLI::App& command, const std::string& name, uint64_t& bytes,
                             const std::string& help);

}  // namespace quern::tools
