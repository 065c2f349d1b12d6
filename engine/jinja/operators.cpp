// Arithmetic with overflow checks, equality, order and membership.
#include "engine/jinja/operators.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/jinja/text.h"

namespace quern::engine::jinja {
namespace {

std::string_view symbol(BinaryOperator op) {
  constexpr std::string_view kSymbols[] = {"+", "-", "*", "/", "//", "%", "**"};
  return kSymbols[static_cast<size_t>(op)];
}

// By reference: the overflow built-ins that fill `result` are arguments of the same call.
Eval<Value> checked(bool overflow, const int64_t& result) {
  if (overflow) return value_failure("an integer is outside the range of 64 bits");
  return Value::integer(result);
}

Eval<Value> integer_power(int64_t base, int64_t exponent) {
  int64_t result = 1;
  // |base| >= 2 overflows within 63 rounds, so the loop is short.
  if (base >= -1 && base <= 1)
    exponent = base == -1 ? exponent % 2 : std::min<int64_t>(exponent, 1);
  for (; exponent > 0; --exponent) {
    if (__builtin_mul_overflow(result, base, &result)) return checked(true, 0);
  }
  return Value::integer(result);
}

Eval<Value> integers(BinaryOperator op, int64_t a, int64_t b) {
  int64_t result = 0;
  switch (op) {
    case BinaryOperator::kAdd:
      return checked(__builtin_add_overflow(a, b, &result), result);
    case BinaryOperator::kSubtract:
      return checked(__builtin_sub_overflow(a, b, &result), result);
    case BinaryOperator::kMultiply:
      return checked(__builtin_mul_overflow(a, b, &result), result);
    case BinaryOperator::kDivide:
      if (b == 0) return value_failure("division by zero");
      return Value::real(static_cast<double>(a) / static_cast<double>(b));
    case BinaryOperator::kFloorDivide:
    case BinaryOperator::kModulo: {
      if (b == 0) return value_failure("division by zero");
      if (b == -1) {
        if (op == BinaryOperator::kModulo) return Value::integer(0);
        return checked(__builtin_sub_overflow(int64_t{0}, a, &result), result);
      }
      const int64_t rest = a % b;
      const bool down = rest != 0 && (rest < 0) != (b < 0);  // Python rounds towards -infinity
      return Value::integer(op == BinaryOperator::kModulo ? rest + (down ? b : 0)
                                                          : a / b - (down ? 1 : 0));
    }
    case BinaryOperator::kPower:
      if (b < 0) {
        if (a == 0) return value_failure("division by zero");
        return Value::real(std::pow(static_cast<double>(a), static_cast<double>(b)));
      }
      return integer_power(a, b);
  }
  return Value();
}

Eval<Value> reals(BinaryOperator op, double a, double b) {
  const bool divides = op == BinaryOperator::kDivide || op == BinaryOperator::kFloorDivide ||
                       op == BinaryOperator::kModulo;
  if (divides && b == 0) return value_failure("division by zero");
  switch (op) {
    case BinaryOperator::kAdd:
      return Value::real(a + b);
    case BinaryOperator::kSubtract:
      return Value::real(a - b);
    case BinaryOperator::kMultiply:
      return Value::real(a * b);
    case BinaryOperator::kDivide:
      return Value::real(a / b);
    case BinaryOperator::kFloorDivide:
      return Value::real(std::floor(a / b));
    case BinaryOperator::kModulo: {
      const double rest = std::fmod(a, b);
      return Value::real(rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest);
    }
    case BinaryOperator::kPower:
      return Value::real(std::pow(a, b));
  }
  return Value();
}

Eval<Value> concatenate(Runtime& runtime, const Value& left, const Value& right) {
  if (left.as_text() && right.as_text()) {
    TextBuilder out(runtime);
    QUERN_CHECK(out.append(*left.as_text()));
    QUERN_CHECK(out.append(*right.as_text()));
    return out.finish();
  }
  const List &a = *left.as_list(), &b = *right.as_list();
  QUERN_CHECK(runtime.spend(a.items.size() + b.items.size()));
  std::vector<Value> items = a.items;
  items.insert(items.end(), b.items.begin(), b.items.end());
  return runtime.list(std::move(items), a.is_tuple);
}

Eval<Value> repeat(Runtime& runtime, const Value& sequence, int64_t times) {
  const auto count = static_cast<uint64_t>(std::max<int64_t>(times, 0));
  if (const std::string* text = sequence.as_text()) {
    TextBuilder out(runtime);
    if (text->empty()) return out.finish();
    for (uint64_t i = 0; i < count; ++i) {
      QUERN_CHECK(runtime.spend(1));
      QUERN_CHECK(out.append(*text));
    }
    return out.finish();
  }
  const List& list = *sequence.as_list();
  std::vector<Value> items;
  if (list.items.empty()) return runtime.list({}, list.is_tuple);
  for (uint64_t i = 0; i < count; ++i) {
    // Checked before the copy; taken for good when the list is made.
    QUERN_CHECK(runtime.spend(list.items.size()));
    QUERN_CHECK(runtime.take((items.size() + list.items.size()) * sizeof(Value)));
    runtime.release((items.size() + list.items.size()) * sizeof(Value));
    items.insert(items.end(), list.items.begin(), list.items.end());
  }
  return runtime.list(std::move(items), list.is_tuple);
}

bool is_sequence(const Value& value) { return value.as_text() || value.as_list(); }

bool same_sequence_type(const Value& left, const Value& right) {
  if (left.as_text() && right.as_text()) return true;
  return left.as_list() && right.as_list() && left.as_list()->is_tuple == right.as_list()->is_tuple;
}

Eval<bool> equal_lists(Runtime& runtime, const List& left, const List& right) {
  if (left.is_tuple != right.is_tuple || left.items.size() != right.items.size()) return false;
  for (size_t i = 0; i < left.items.size(); ++i) {
    QUERN_TRY(const bool same, equal(runtime, left.items[i], right.items[i]));
    if (!same) return false;
  }
  return true;
}

Eval<bool> equal_dicts(Runtime& runtime, const Dict& left, const Dict& right) {
  if (left.entries().size() != right.entries().size()) return false;
  for (const auto& [key, value] : left.entries()) {
    const Value* other = right.find(key);
    if (!other) return false;
    QUERN_TRY(const bool same, equal(runtime, value, *other));
    if (!same) return false;
  }
  return true;
}

Eval<bool> contains(Runtime& runtime, const Value& item, const Value& container) {
  if (const std::string* text = container.as_text()) {
    const std::string* part = item.as_text();
    if (!part) {
      return value_failure("only a string can be in a string, not a " +
                           std::string(item.type_name()));
    }
    QUERN_CHECK(runtime.spend_on_search(text->size(), part->size()));
    return text->find(*part) != std::string::npos;
  }
  if (const Dict* dict = container.as_dict()) return dict->find(item) != nullptr;
  if (const List* list = container.as_list()) {
    for (const Value& candidate : list->items) {
      QUERN_TRY(const bool same, equal(runtime, candidate, item));
      if (same) return true;
    }
    return false;
  }
  if (container.is_undefined()) return false;
  return value_failure("nothing can be in a " + std::string(container.type_name()));
}

int sign(int number) { return (number > 0) - (number < 0); }

}  // namespace

Eval<Value> binary(Runtime& runtime, BinaryOperator op, const Value& left, const Value& right) {
  const auto a = left.as_integer(), b = right.as_integer();
  if (a && b) return integers(op, *a, *b);
  const auto x = left.as_number(), y = right.as_number();
  if (x && y) return reals(op, *x, *y);
  if (op == BinaryOperator::kAdd && same_sequence_type(left, right)) {
    return concatenate(runtime, left, right);
  }
  if (op == BinaryOperator::kMultiply && is_sequence(left) && b) return repeat(runtime, left, *b);
  if (op == BinaryOperator::kMultiply && a && is_sequence(right)) return repeat(runtime, right, *a);
  return value_failure("operator " + std::string(symbol(op)) + " cannot take " +
                       std::string(left.type_name()) + " and " + std::string(right.type_name()));
}

Eval<Value> negate(const Value& value) {
  if (const auto integer = value.as_integer()) {
    return integers(BinaryOperator::kSubtract, 0, *integer);
  }
  if (const auto number = value.as_number()) return Value::real(-*number);
  return value_failure("operator - cannot take " + std::string(value.type_name()));
}

Eval<bool> equal(Runtime& runtime, const Value& left, const Value& right) {
  const Runtime::Nesting nesting(runtime);
  QUERN_CHECK(nesting.check());
  QUERN_CHECK(runtime.spend(1));
  const auto x = left.as_number(), y = right.as_number();
  if (x && y) {
    const auto a = left.as_integer(), b = right.as_integer();
    return a && b ? *a == *b : *x == *y;
  }
  if (left.kind() != right.kind()) return false;
  if (const std::string* text = left.as_text()) {
    QUERN_CHECK(runtime.spend(text->size() / 4096));
    return *text == *right.as_text();
  }
  if (const List* list = left.as_list()) return equal_lists(runtime, *list, *right.as_list());
  if (const Dict* dict = left.as_dict()) return equal_dicts(runtime, *dict, *right.as_dict());
  return left.as_object() == right.as_object();
}

Eval<int> order(Runtime& runtime, const Value& left, const Value& right) {
  const Runtime::Nesting nesting(runtime);
  QUERN_CHECK(nesting.check());
  QUERN_CHECK(runtime.spend(1));
  const auto a = left.as_integer(), b = right.as_integer();
  if (a && b) return (*a > *b) - (*a < *b);
  const auto x = left.as_number(), y = right.as_number();
  if (x && y) return (*x > *y) - (*x < *y);
  if (left.as_text() && right.as_text()) {
    QUERN_CHECK(runtime.spend(left.as_text()->size() / 4096));
    return sign(left.as_text()->compare(*right.as_text()));
  }
  if (left.as_list() && right.as_list()) {
    const auto &first = left.as_list()->items, &second = right.as_list()->items;
    for (size_t i = 0; i < std::min(first.size(), second.size()); ++i) {
      QUERN_TRY(const int result, order(runtime, first[i], second[i]));
      if (result != 0) return result;
    }
    return (first.size() > second.size()) - (first.size() < second.size());
  }
  return value_failure(std::string(left.type_name()) + " and " + std::string(right.type_name()) +
                       " have no order");
}

Eval<bool> compare(Runtime& runtime, Comparison op, const Value& left, const Value& right) {
  if (op == Comparison::kEqual || op == Comparison::kNotEqual) {
    QUERN_TRY(const bool same, equal(runtime, left, right));
    return same == (op == Comparison::kEqual);
  }
  if (op == Comparison::kIn || op == Comparison::kNotIn) {
    QUERN_TRY(const bool found, contains(runtime, left, right));
    return found == (op == Comparison::kIn);
  }
  QUERN_TRY(const int result, order(runtime, left, right));
  if (op == Comparison::kLess) return result < 0;
  if (op == Comparison::kLessEqual) return result <= 0;
  if (op == Comparison::kGreater) return result > 0;
  return result >= 0;
}

Eval<std::vector<Value>> sort_by(Runtime& runtime, std::vector<Value> items,
                                 const std::vector<Value>& keys, bool descending) {
  std::vector<size_t> places(items.size());
  std::iota(places.begin(), places.end(), size_t{0});
  // A comparison that fails says "equal" from then on, so that the sort ends; its error is kept.
  Eval<int> failed = 0;
  std::stable_sort(places.begin(), places.end(), [&](size_t a, size_t b) {
    if (!failed) return false;
    auto result = order(runtime, keys[descending ? b : a], keys[descending ? a : b]);
    if (result) return *result < 0;
    failed = std::move(result);
    return false;
  });
  QUERN_CHECK(std::move(failed));
  std::vector<Value> sorted;
  for (const size_t place : places) sorted.push_back(std::move(items[place]));
  return sorted;
}

}  // namespace quern::engine::jinja
