// Lookup in the tables.
#include "engine/jinja/methods.h"

#include <algorithm>

namespace quern::engine::jinja {
namespace {

Method find_in(std::span<const NamedFunction> table, std::string_view name) {
  const auto found = std::find_if(table.begin(), table.end(),
                                  [&](const NamedFunction& row) { return row.name == name; });
  return found == table.end() ? nullptr : found->function;
}

}  // namespace

Method find_method(const Value& self, std::string_view name) {
  if (self.as_text()) return find_in(text_methods(), name);
  if (self.as_list() || self.as_dict()) return find_in(container_methods(self.kind()), name);
  if (const Object* object = self.as_object()) return object->method(name);
  return nullptr;
}

Method find_filter(std::string_view name) {
  for (const auto table : {text_filters(), sequence_filters(), selection_filters()}) {
    if (const Method found = find_in(table, name)) return found;
  }
  return nullptr;
}

Eval<Value> call_filter(Runtime& runtime, std::string_view name, const Value& subject,
                        const Arguments& arguments) {
  const Method filter = find_filter(name);
  if (!filter) {
    return failure("template-unsupported", "there is no filter called " + escape(name));
  }
  QUERN_CHECK(runtime.spend_on(subject));
  return filter(runtime, subject, arguments);
}

Eval<bool> call_test(Runtime& runtime, std::string_view name, const Value& subject,
                     const Arguments& arguments) {
  const Method test = find_test(name);
  if (!test) return failure("template-unsupported", "there is no test called " + escape(name));
  QUERN_TRY(const Value result, test(runtime, subject, arguments));
  return result.truthy();
}

Eval<int64_t> integer_argument(const Value& value, int64_t fallback) {
  if (value.is_undefined() || value.is_none()) return fallback;
  if (const auto integer = value.as_integer()) return *integer;
  return value_failure("an integer is expected, not a " + std::string(value.type_name()));
}

Eval<std::string> text_argument(const Value& value, std::string_view fallback) {
  if (value.is_undefined() || value.is_none()) return std::string(fallback);
  if (const std::string* text = value.as_text()) return *text;
  return value_failure("a string is expected, not a " + std::string(value.type_name()));
}

Eval<Value> items_of(Runtime& runtime, const Dict& dict) {
  std::vector<Value> items;
  for (const auto& [key, value] : dict.entries()) {
    QUERN_TRY(Value pair, runtime.list({key, value}, true));
    items.push_back(std::move(pair));
  }
  return runtime.list(std::move(items));
}

}  // namespace quern::engine::jinja
