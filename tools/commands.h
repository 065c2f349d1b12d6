// The subcommands of the `quern` program: one source file each.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "gguf/result.h"

namespace quern::tools {

// Each add_* function declares one subcommand with its options; when the user chose it, `run` is set
// to what it does. The result decides the exit code: 0, 2 for bad input, 1 for failure.
using Run = std::function<Status()>;

void add_run(CLI::App& app, Run& run);
void add_inspect(CLI::App& app, Run& run);
void add_tokenize(CLI::App& app, Run& run);
void add_logits(CLI::App& app, Run& run);

}  // namespace quern::tools
