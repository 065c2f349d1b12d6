// Filters that apply another filter or a test to each item: map, select, reject and their kin.
#include "engine/jinja/access.h"
#include "engine/jinja/methods.h"
#include "engine/jinja/operators.h"

namespace quern::engine::jinja {
namespace {

// `arguments` without the first `count` positional ones.
Arguments rest(const Arguments& arguments, size_t count) {
  Arguments result = arguments;
  result.positional.erase(result.positional.begin(),
                          result.positional.begin() + static_cast<ptrdiff_t>(count));
  return result;
}

// The name of a filter or test, from an argument.
Eval<std::string> name_argument(const Arguments& arguments, size_t index) {
  if (index >= arguments.positional.size()) return value_failure("an argument is missing");
  return text_argument(arguments.positional[index], "");
}

Eval<Value> map_attribute(Runtime& runtime, const Value& subject, const Arguments& arguments) {
  QUERN_TRY(const auto a, (bind<2>(arguments, {"attribute", "default"})));
  QUERN_TRY(auto values, iterate(runtime, subject));
  for (Value& value : values) {
    QUERN_TRY(value, by_path(runtime, value, a[0]));
    if (value.is_undefined()) value = a[1];
  }
  return runtime.list(std::move(values));
}

Eval<Value> map(Runtime& runtime, const Value& subject, const Arguments& arguments) {
  if (arguments.positional.empty()) return map_attribute(runtime, subject, arguments);
  QUERN_TRY(const std::string filter, name_argument(arguments, 0));
  const Arguments others = rest(arguments, 1);
  QUERN_TRY(auto values, iterate(runtime, subject));
  for (Value& value : values) {
    const Value item = value;
    QUERN_TRY(value, call_filter(runtime, filter, item, others));
  }
  return runtime.list(std::move(values));
}

// Items, or the attribute named first, for which the test says `wanted`; without a test, their
// truth is asked for.
template <bool by_attribute, bool wanted>
Eval<Value> choose(Runtime& runtime, const Value& subject, const Arguments& arguments) {
  constexpr size_t kTest = by_attribute ? 1 : 0;  // position of the test's name
  if (arguments.positional.size() < kTest) return value_failure("an attribute is expected");
  const bool has_test = arguments.positional.size() > kTest;
  std::string test;
  Arguments others;
  if (has_test) {
    QUERN_TRY(test, name_argument(arguments, kTest));
    others = rest(arguments, kTest + 1);
  }
  QUERN_TRY(const auto values, iterate(runtime, subject));
  std::vector<Value> chosen;
  for (const Value& item : values) {
    Value member;
    const Value* tested = &item;
    if constexpr (by_attribute) {
      QUERN_TRY(member, by_path(runtime, item, arguments.positional[0]));
      tested = &member;
    }
    bool accepted = tested->truthy();
    if (has_test) {
      QUERN_TRY(accepted, call_test(runtime, test, *tested, others));
    }
    if (accepted == wanted) chosen.push_back(item);
  }
  return runtime.list(std::move(chosen));
}

Eval<Value> attr(Runtime& runtime, const Value& subject, const Arguments& arguments) {
  QUERN_TRY(const auto a, (bind<1>(arguments, {"name"})));
  QUERN_TRY(const std::string name, text_argument(a[0], ""));
  return attribute(runtime, subject, name);
}

constexpr NamedFunction kFilters[] = {
    {"attr", attr},
    {"map", map},
    {"reject", choose<false, false>},
    {"rejectattr", choose<true, false>},
    {"select", choose<false, true>},
    {"selectattr", choose<true, true>},
};

}  // namespace

std::span<const NamedFunction> selection_filters() { return kFilters; }

}  // namespace quern::engine::jinja
