// How values are written: as output, as Python's repr, as JSON.
#pragma once

#include "engine/jinja/runtime.h"

namespace quern::engine::jinja {

// What `{{ value }}` prints: nothing for undefined, a string as it is, the rest as repr.
Eval<void> print(Runtime& runtime, const Value& value, TextBuilder& out);
Eval<Value> to_text(Runtime& runtime, const Value& value);

// Python's json.dumps. The separators and the indentation default to what chat templates expect.
struct JsonStyle {
  bool ascii_only = false;
  bool sort_keys = false;
  std::optional<std::string> indent;  // per level; none: all on one line
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};
// Errors: "template-value" for what JSON cannot say, such as undefined.
Eval<void> print_json(Runtime& runtime, const Value& value, const JsonStyle& style,
                      TextBuilder& out);

}  // namespace quern::engine::jinja
