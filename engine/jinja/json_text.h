// JSON texts as values of a template.
#pragma once

#include <string_view>

#include "engine/jinja/runtime.h"

namespace quern::engine::jinja {

// The value of a JSON text; undefined if it is none. Built without objects of the JSON library,
// whose destructors allocate and so may abort. Errors: "template-limit".
Eval<Value> parse_json(Runtime& runtime, std::string_view text);

}  // namespace quern::engine::jinja
