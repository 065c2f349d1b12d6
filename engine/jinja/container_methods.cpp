// Python's methods of lists and dicts. Those that change a list change it for all who share it.
#include <algorithm>

#include "engine/jinja/methods.h"
#include "engine/jinja/operators.h"
#include "engine/jinja/text.h"

namespace quern::engine::jinja {
namespace {

Eval<void> mutable_list(const Value& self) {
  if (!self.as_list()->is_tuple) return {};
  return value_failure("a tuple cannot be changed");
}

Eval<Value> append(Runtime& runtime, const Value& self, const Arguments& arguments) {
  QUERN_TRY(const auto a, (bind<1>(arguments, {"object"})));
  QUERN_CHECK(mutable_list(self));
  QUERN_CHECK(runtime.append(*self.as_list(), a[0]));
  return Value::none();
}

Eval<Value> extend(Runtime& runtime, const Value& self, const Arguments& arguments) {
  QUERN_TRY(const auto a, (bind<1>(arguments, {"iterable"})));
  QUERN_CHECK(mutable_list(self));
  QUERN_TRY(const auto items, iterate(runtime, a[0]));
  for (const Value& item : items) QUERN_CHECK(runtime.append(*self.as_list(), item));
  return Value::none();
}

Eval<Value> insert(Runtime& runtime, const Value& self, const Arguments& arguments) {
  QUERN_TRY(const auto a, (bind<2>(arguments, {"index", "object"})));
  QUERN_CHECK(mutable_list(self));
  QUERN_TRY(const int64_t index, integer_argument(a[0], 0));
  List& list = *self.as_list();
  QUERN_CHECK(runtime.insert(list, clamp_index(index, list.items.size()), a[1]));
  return Value::none();
}

Eval<Value> pop_item(Runtime&, const Value& self, const Arguments& arguments) {
  QUERN_TRY(const auto a, (bind<1>(arguments, {"index"})));
  QUERN_CHECK(mutable_list(self));
  auto& items = self.as_list()->items;
  QUERN_TRY(int64_t index, integer_argument(a[0], -1));
  if (index < 0) index += static_cast<int64_t>(items.size());
  if (index < 0 || static_cast<size_t>(index) >= items.size()) {
    return value_failure("pop() from a list that has no such item");
  }
  Value item = items[static_cast<size_t>(index)];
  items.erase(items.begin() + index);
  return item;
}

// Position of the first item equal to the argument; the size if there is none.
Eval<size_t> position_of(Runtime& runtime, const Value& self, const Arguments& arguments) {
  QUERN_TRY(const auto a, (bind<1>(arguments, {"value"})));
  const auto& items = self.as_list()->items;
  for (size_t i = 0; i < items.size(); ++i) {
    QUERN_TRY(const bool same, equal(runtime, items[i], a[0]));
    if (same) return i;
  }
  return items.size();
}

Eval<Value> index(Runtime& runtime, const Value& self, const Arguments& arguments) {
  QUERN_TRY(const size_t position, position_of(runtime, self, arguments));
  if (position == self.as_list()->items.size()) {
    return value_failure("index() of a value that is not in the list");
  }
  return Value::integer(static_cast<int64_t>(position));
}

Eval<Value> remove(Runtime& runtime, const Value& self, const Arguments& arguments) {
  QUERN_CHECK(mutable_list(self));
  QUERN_TRY(const size_t position, position_of(runtime, self, arguments));
  auto& items = self.as_list()->items;
  if (position == items.size()) {
    return value_failure("remove() of a value that is not in the list");
  }
  items.erase(items.begin() + static_cast<ptrdiff_t>(position));
  return Value::none();
}

Eval<Value> count(Runtime& runtime, const Value& self, const Arguments& arguments) {
  QUERN_TRY(const auto a, (bind<1>(arguments, {"value"})));
  int64_t result = 0;
  for (const Value& item : self.as_list()->items) {
    QUERN_TRY(const bool same, equal(runtime, item, a[0]));
    result += same;
  }
  return Value::integer(result);
}

Eval<Value> reverse(Runtime&, const Value& self, const Arguments& arguments) {
  QUERN_CHECK(bind<0>(arguments, {}));
  QUERN_CHECK(mutable_list(self));
  std::reverse(self.as_list()->items.begin(), self.as_list()->items.end());
  return Value::none();
}

Eval<Value> copy_list(Runtime& runtime, const Value& self, const Arguments& arguments) {
  QUERN_CHECK(bind<0>(arguments, {}));
  return runtime.list(self.as_list()->items);
}

Eval<Value> clear_list(Runtime&, const Value& self, const Arguments& arguments) {
  QUERN_CHECK(bind<0>(arguments, {}));
  QUERN_CHECK(mutable_list(self));
  self.as_list()->items.clear();
  return Value::none();
}

Eval<Value> items(Runtime& runtime, const Value& self, const Arguments& arguments) {
  QUERN_CHECK(bind<0>(arguments, {}));
  return items_of(runtime, *self.as_dict());
}

Eval<Value> keys(Runtime& runtime, const Value& self, const Arguments& arguments) {
  QUERN_CHECK(bind<0>(arguments, {}));
  QUERN_TRY(auto names, iterate(runtime, self));
  return runtime.list(std::move(names));
}

Eval<Value> values(Runtime& runtime, const Value& self, const Arguments& arguments) {
  QUERN_CHECK(bind<0>(arguments, {}));
  std::vector<Value> result;
  for (const auto& entry : self.as_dict()->entries()) result.push_back(entry.value);
  return runtime.list(std::move(result));
}

Eval<Value> get(Runtime&, const Value& self, const Arguments& arguments) {
  QUERN_TRY(const auto a, (bind<2>(arguments, {"key", "default"})));
  if (const Value* found = self.as_dict()->find(a[0])) return *found;
  return a[1].is_undefined() ? Value::none() : a[1];
}

Eval<Value> setdefault(Runtime& runtime, const Value& self, const Arguments& arguments) {
  QUERN_TRY(const auto a, (bind<2>(arguments, {"key", "default"})));
  if (const Value* found = self.as_dict()->find(a[0])) return *found;
  Value value = a[1].is_undefined() ? Value::none() : a[1];
  QUERN_CHECK(runtime.set(*self.as_dict(), a[0], value));
  return value;
}

Eval<Value> pop_key(Runtime&, const Value& self, const Arguments& arguments) {
  QUERN_TRY(const auto a, (bind<2>(arguments, {"key", "default"})));
  const Value* found = self.as_dict()->find(a[0]);
  if (!found) {
    if (!a[1].is_undefined()) return a[1];
    return value_failure("pop() of a key that is not in the dict");
  }
  Value value = *found;
  self.as_dict()->erase(a[0]);
  return value;
}

Eval<Value> update(Runtime& runtime, const Value& self, const Arguments& arguments) {
  if (arguments.positional.size() > 1) return value_failure("update() takes one dict");
  if (!arguments.positional.empty()) {
    const Dict* other = arguments.positional[0].as_dict();
    if (!other) return value_failure("update() takes a dict");
    const auto entries = other->entries();  // a copy: it may be the same dict
    for (const auto& [key, value] : entries) {
      QUERN_CHECK(runtime.set(*self.as_dict(), key, value));
    }
  }
  for (const auto& [name, value] : arguments.named) {
    QUERN_TRY(const Value key, runtime.text(std::string(name)));
    QUERN_CHECK(runtime.set(*self.as_dict(), key, value));
  }
  return Value::none();
}

Eval<Value> copy_dict(Runtime& runtime, const Value& self, const Arguments& arguments) {
  QUERN_CHECK(bind<0>(arguments, {}));
  QUERN_TRY(Value result, runtime.dict());
  QUERN_CHECK(update(runtime, result, {.positional = {self}, .named = {}}));
  return result;
}

Eval<Value> clear_dict(Runtime&, const Value& self, const Arguments& arguments) {
  QUERN_CHECK(bind<0>(arguments, {}));
  self.as_dict()->clear();
  return Value::none();
}

constexpr NamedFunction kListMethods[] = {
    {"append", append}, {"clear", clear_list}, {"copy", copy_list}, {"count", count},
    {"extend", extend}, {"index", index},      {"insert", insert},  {"pop", pop_item},
    {"remove", remove}, {"reverse", reverse},
};

constexpr NamedFunction kDictMethods[] = {
    {"clear", clear_dict},      {"copy", copy_dict}, {"get", get},
    {"items", items},           {"keys", keys},      {"pop", pop_key},
    {"setdefault", setdefault}, {"update", update},  {"values", values},
};

}  // namespace

std::span<const NamedFunction> container_methods(Kind kind) {
  if (kind == Kind::kDict) return kDictMethods;
  return kListMethods;
}

}  // namespace quern::engine::jinja
