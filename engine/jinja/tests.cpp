// Tests: what may follow `is`.
#include <algorithm>
#include <cmath>

#include "engine/jinja/methods.h"
#include "engine/jinja/operators.h"
#include "engine/jinja/text.h"

namespace quern::engine::jinja {
namespace {

using Predicate = bool (*)(const Value&);

bool is_defined(const Value& value) { return !value.is_undefined(); }
bool is_undefined(const Value& value) { return value.is_undefined(); }
bool is_none(const Value& value) { return value.is_none(); }
bool is_boolean(const Value& value) { return value.is(Kind::kBool); }
bool is_true(const Value& value) { return is_boolean(value) && value.truthy(); }
bool is_false(const Value& value) { return is_boolean(value) && !value.truthy(); }
bool is_integer(const Value& value) { return value.is(Kind::kInteger); }
bool is_float(const Value& value) { return value.is(Kind::kFloat); }
bool is_number(const Value& value) { return value.as_number().has_value(); }
bool is_string(const Value& value) { return value.as_text() != nullptr; }
bool is_mapping(const Value& value) { return value.as_dict() != nullptr; }
bool is_sequence(const Value& value) {
  return is_string(value) || is_mapping(value) || value.as_list() || is_undefined(value);
}
bool is_callable(const Value& value) { return value.as_object() && value.as_object()->callable(); }
bool is_lower(const Value& value) {
  const std::string* text = value.as_text();
  return text && lower(*text) == *text && upper(*text) != *text;
}
bool is_upper(const Value& value) {
  const std::string* text = value.as_text();
  return text && upper(*text) == *text && lower(*text) != *text;
}

template <Predicate predicate>
Eval<Value> simple(Runtime& runtime, const Value& subject, const Arguments& arguments) {
  QUERN_CHECK(bind<0>(arguments, {}));
  if (predicate == is_lower || predicate == is_upper) QUERN_CHECK(runtime.spend_on(subject));
  return Value::boolean(predicate(subject));
}

template <Comparison comparison>
Eval<Value> compares(Runtime& runtime, const Value& subject, const Arguments& arguments) {
  QUERN_TRY(const auto a, (bind<1>(arguments, {"other"})));
  QUERN_TRY(const bool result, compare(runtime, comparison, subject, a[0]));
  return Value::boolean(result);
}

// Whether `subject` modulo `divisor` is zero (wanted = 0) or not.
Eval<Value> divides(Runtime& runtime, const Value& subject, const Value& divisor, bool wanted) {
  QUERN_TRY(const Value modulo, binary(runtime, BinaryOperator::kModulo, subject, divisor));
  return Value::boolean((modulo.as_number() == 0.0) == wanted);
}
Eval<Value> divisibleby(Runtime& runtime, const Value& subject, const Arguments& arguments) {
  QUERN_TRY(const auto a, (bind<1>(arguments, {"num"})));
  return divides(runtime, subject, a[0], true);
}
Eval<Value> even(Runtime& runtime, const Value& subject, const Arguments& arguments) {
  QUERN_CHECK(bind<0>(arguments, {}));
  return divides(runtime, subject, Value::integer(2), true);
}
Eval<Value> odd(Runtime& runtime, const Value& subject, const Arguments& arguments) {
  QUERN_CHECK(bind<0>(arguments, {}));
  return divides(runtime, subject, Value::integer(2), false);
}

// Python's `is`: the same object; equal values of one type for what is immutable.
Eval<Value> sameas(Runtime& runtime, const Value& subject, const Arguments& arguments) {
  QUERN_TRY(const auto a, (bind<1>(arguments, {"other"})));
  if (subject.kind() != a[0].kind()) return Value::boolean(false);
  if (const List* list = subject.as_list()) return Value::boolean(list == a[0].as_list());
  if (const Dict* dict = subject.as_dict()) return Value::boolean(dict == a[0].as_dict());
  QUERN_TRY(const bool same, equal(runtime, subject, a[0]));
  return Value::boolean(same);
}

constexpr NamedFunction kTests[] = {
    {"!=", compares<Comparison::kNotEqual>},
    {"<", compares<Comparison::kLess>},
    {"<=", compares<Comparison::kLessEqual>},
    {"==", compares<Comparison::kEqual>},
    {">", compares<Comparison::kGreater>},
    {">=", compares<Comparison::kGreaterEqual>},
    {"boolean", simple<is_boolean>},
    {"callable", simple<is_callable>},
    {"defined", simple<is_defined>},
    {"divisibleby", divisibleby},
    {"eq", compares<Comparison::kEqual>},
    {"equalto", compares<Comparison::kEqual>},
    {"even", even},
    {"false", simple<is_false>},
    {"float", simple<is_float>},
    {"ge", compares<Comparison::kGreaterEqual>},
    {"greaterthan", compares<Comparison::kGreater>},
    {"gt", compares<Comparison::kGreater>},
    {"in", compares<Comparison::kIn>},
    {"integer", simple<is_integer>},
    {"iterable", simple<is_sequence>},
    {"le", compares<Comparison::kLessEqual>},
    {"lessthan", compares<Comparison::kLess>},
    {"lower", simple<is_lower>},
    {"lt", compares<Comparison::kLess>},
    {"mapping", simple<is_mapping>},
    {"ne", compares<Comparison::kNotEqual>},
    {"none", simple<is_none>},
    {"number", simple<is_number>},
    {"odd", odd},
    {"sameas", sameas},
    {"sequence", simple<is_sequence>},
    {"string", simple<is_string>},
    {"true", simple<is_true>},
    {"undefined", simple<is_undefined>},
    {"upper", simple<is_upper>},
};

}  // namespace

Method find_test(std::string_view name) {
  const auto* found = std::find_if(std::begin(kTests), std::end(kTests),
                                   [&](const NamedFunction& row) { return row.name == name; });
  return found == std::end(kTests) ? nullptr : found->function;
}

}  // namespace quern::engine::jinja
