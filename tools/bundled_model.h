// Where the model that comes with Quern is.
#pragma once

#include <string>

#include "gguf/result.h"

namespace quern::tools {

// The path of the bundled model: ../share/quern/models beside an installed program, models/ of the
// source tree for one that was just built. Error "bundled-model" if it is in neither.
Result<std::string> bundled_model();

}  // namespace quern::tools
