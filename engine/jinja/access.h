// Parts of values: attributes, items, slices.
#pragma once

#include "engine/jinja/runtime.h"

namespace quern::engine::jinja {

// object.name: a method first, then a key or attribute. What is not there, also in undefined and
// none, is undefined.
Eval<Value> attribute(Runtime& runtime, const Value& object, std::string_view name);

// object[index]: a key or position first, then an attribute.
Eval<Value> subscript(Runtime& runtime, const Value& object, const Value& index);

// object[start:stop:step] of strings and lists; undefined bounds are Python's defaults.
Eval<Value> slice(Runtime& runtime, const Value& object, const Value& start, const Value& stop,
                  const Value& step);

// The part that a filter's `attribute` argument names: "a.b.0" or a position.
Eval<Value> by_path(Runtime& runtime, const Value& item, const Value& path);

}  // namespace quern::engine::jinja
