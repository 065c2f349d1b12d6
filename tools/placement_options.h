// --device, --gpu-layers, --place and --variant, shared by the commands that run a model.
#pragma once

#include <CLI/CLI.hpp>

#include "engine/placement.h"

namespace quern::tools {

void add_placement_options(CLI::App& command, engine::Placement& placement);

}  // namespace quern::tools
