// The functions that every template can call by name.
#pragma once

#include "engine/jinja/methods.h"

namespace quern::engine::jinja {

// A function object for `name`, or undefined. Errors: "template-limit".
Eval<Value> find_global(Runtime& runtime, std::string_view name);

}  // namespace quern::engine::jinja
