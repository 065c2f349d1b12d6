// Template source to a tree. Grammar: Jinja's, without inheritance and inclusion.
#pragma once

#include <string_view>

#include "engine/jinja/ast.h"

namespace quern::engine::jinja {

// Errors: "template-syntax" with the line; "template-limit" for brackets, blocks or chains of
// operators that nest too deeply.
Eval<Block> parse(std::string_view source);

}  // namespace quern::engine::jinja
