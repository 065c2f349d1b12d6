// Declares `quern conform`.
#pragma once

#include "tools/commands.h"

namespace quern::tools {

void add_conform(CLI::App& app, Run& run);

}  // namespace quern::tools
