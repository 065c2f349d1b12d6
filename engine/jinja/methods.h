// The tables of what can be called by name on a value: methods, filters and tests.
#pragma once

#include <span>

#include "engine/jinja/runtime.h"

namespace quern::engine::jinja {

struct NamedFunction {
  std::string_view name;
  Method function;
};

// nullptr if there is none. The caller pays for looking at `self` once (Runtime::spend_on).
Method find_method(const Value& self, std::string_view name);  // Python's methods
Method find_filter(std::string_view name);
Method find_test(std::string_view name);  // the result is a boolean

// Rows of the tables; each is defined beside its functions.
std::span<const NamedFunction> text_methods();
std::span<const NamedFunction> container_methods(Kind kind);  // kList or kDict
std::span<const NamedFunction> text_filters();
std::span<const NamedFunction> sequence_filters();
std::span<const NamedFunction> selection_filters();

Eval<Value> call_filter(Runtime& runtime, std::string_view name, const Value& subject,
                        const Arguments& arguments);
Eval<bool> call_test(Runtime& runtime, std::string_view name, const Value& subject,
                     const Arguments& arguments);

// An optional argument of one type. Errors: "template-value" for another type.
Eval<int64_t> integer_argument(const Value& value, int64_t fallback);
Eval<std::string> text_argument(const Value& value, std::string_view fallback);

// What dict.items() and the filter `items` give.
Eval<Value> items_of(Runtime& runtime, const Dict& dict);  // list of tuples (key, value)

}  // namespace quern::engine::jinja
