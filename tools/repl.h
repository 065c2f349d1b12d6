// The chat on a terminal.
#pragma once

#include <string>

#include "gguf/result.h"
#include "tools/chat.h"
#include "tools/repl_signals.h"

namespace quern::tools {

// Reads, answers, and prints until the user leaves. `greeting`: one line printed first. The
// generator must look at cancel_token().
Status run_repl(Generator& generator, Chat::Options options, const std::string& greeting);

}  // namespace quern::tools
