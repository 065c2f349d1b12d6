// Python's operators over values. Errors: "template-value" for types that do not go together.
#pragma once

#include "engine/jinja/runtime.h"

namespace quern::engine::jinja {

enum class BinaryOperator { kAdd, kSubtract, kMultiply, kDivide, kFloorDivide, kModulo, kPower };
enum class Comparison {
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kIn,
  kNotIn
};

Eval<Value> binary(Runtime& runtime, BinaryOperator op, const Value& left, const Value& right);
Eval<Value> negate(const Value& value);
Eval<bool> compare(Runtime& runtime, Comparison op, const Value& left, const Value& right);

// -1, 0 or 1 for numbers, strings, and lists of them.
Eval<int> order(Runtime& runtime, const Value& left, const Value& right);
Eval<bool> equal(Runtime& runtime, const Value& left, const Value& right);

// Stable ascending order of `items` by `keys` (as many). Errors: as order().
Eval<std::vector<Value>> sort_by(Runtime& runtime, std::vector<Value> items,
                                 const std::vector<Value>& keys, bool descending);

}  // namespace quern::engine::jinja
