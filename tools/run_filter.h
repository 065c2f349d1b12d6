// `quern run` without a chat: one prompt in, one answer on standard output.
#pragma once

#include <string>

#include "gguf/result.h"
#include "tools/chat_generator.h"

namespace quern::tools {

struct FilterOptions {
  std::string prompt;
  std::string system;       // "" = none
  size_t limit = 0;         // tokens; 0 = until the model ends
  bool json = false;        // one object per token, then a summary
  bool statistics = false;  // times on standard error
};

// Errors: those of the generator, "prompt-empty", "write".
Status run_filter(Generator& generator, const FilterOptions& options);

}  // namespace quern::tools
