// Output of the subcommands that print a report and end.
#pragma once

#include <cstdio>
#include <span>
#include <string>
#include <string_view>

#include "gguf/result.h"

namespace quern::tools {

// Writes to standard output at once. Error: "write".
inline Status write_stdout(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    return fail(ErrorKind::kFailure, "write", "the output could not be written");
  }
  return {};
}

// One line each on standard error.
inline void print_warnings(std::span<const std::string> warnings) {
  for (const std::string& warning : warnings) {
    std::fprintf(stderr, "quern: warning: %s\n", warning.c_str());
  }
}

}  // namespace quern::tools
