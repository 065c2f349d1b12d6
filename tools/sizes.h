// Sizes of memory as people write and read them.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

namespace quern::tools {

// In binary units: "512 B", "96.0 MiB", "1.25 GiB".
std::string size_text(uint64_t bytes);

// An option that takes "8G", "8GiB" or "500 MB", all in powers of 1024.
CLI::Option* add_size_option(CLI::App& command, const std::string& name, uint64_t& bytes,
                             const std::string& help);

}  // namespace quern::tools
