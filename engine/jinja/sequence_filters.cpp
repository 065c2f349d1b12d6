// Filters on lists, dicts and what else can be iterated over.
#include <algorithm>

#include "engine/jinja/access.h"
#include "engine/jinja/methods.h"
#include "engine/jinja/operators.h"
#include "engine/jinja/print.h"
#include "engine/jinja/text.h"
#include "engine/utf8.h"

namespace quern::engine::jinja {
namespace {

bool given(const Value& argument) { return !argument.is_undefined() && !argument.is_none(); }

// What items are compared by: their attribute if one is named; strings without case, unless asked.
Eval<Value> sort_key(Runtime& runtime, const Value& item, const Value& path, bool case_sensitive) {
  Value key = item;
  if (given(path)) {
    QUERN_TRY(key, by_path(runtime, item, path));
  }
  const std::string* text = key.as_text();
  return text && !case_sensitive ? runtime.text(lower(*text)) : std::move(key);
}

Eval<std::vector<Value>> sort_keys(Runtime& runtime, const std::vector<Value>& items,
                                   const Value& path, bool case_sensitive) {
  std::vector<Value> keys;
  for (const Value& item : items) {
    QUERN_TRY(Value key, sort_key(runtime, item, path, case_sensitive));
    keys.push_back(std::move(key));
  }
  return keys;
}

Eval<Value> default_value(Runtime& runtime, const Value& subject, const Arguments& arguments) {
  QUERN_TRY(const auto a, (bind<2>(arguments, {"default_value", "boolean"})));
  const bool replace = subject.is_undefined() || (a[1].truthy() && !subject.truthy());
  if (!replace) return subject;
  return a[0].is_undefined() ? runtime.text("") : a[0];
}

Eval<Value> length(Runtime&, const Value& subject, const Arguments& arguments) {
  QUERN_CHECK(bind<0>(arguments, {}));
  size_t result = 0;
  if (const std::string* text = subject.as_text()) {
    result = utf8::length(*text);
  } else if (const List* list = subject.as_list()) {
    result = list->items.size();
  } else if (const Dict* dict = subject.as_dict()) {
    result = dict->entries().size();
  } else if (!subject.is_undefined()) {
    return value_failure("a " + std::string(subject.type_name()) + " has no length");
  }
  return Value::integer(static_cast<int64_t>(result));
}

Eval<Value> first(Runtime& runtime, const Value& subject, const Arguments& arguments) {
  QUERN_CHECK(bind<0>(arguments, {}));
  QUERN_TRY(const auto items, iterate(runtime, subject));
  return items.empty() ? Value() : items.front();
}

Eval<Value> last(Runtime& runtime, const Value& subject, const Arguments& arguments) {
  QUERN_CHECK(bind<0>(arguments, {}));
  QUERN_TRY(const auto items, iterate(runtime, subject));
  return items.empty() ? Value() : items.back();
}

Eval<Value> list(Runtime& runtime, const Value& subject, const Arguments& arguments) {
  QUERN_CHECK(bind<0>(arguments, {}));
  QUERN_TRY(auto items, iterate(runtime, subject));
  return runtime.list(std::move(items));
}

Eval<Value> reverse(Runtime& runtime, const Value& subject, const Arguments& arguments) {
  QUERN_CHECK(bind<0>(arguments, {}));
  QUERN_TRY(auto items, iterate(runtime, subject));
  std::reverse(items.begin(), items.end());
  if (!subject.as_text()) return runtime.list(std::move(items));
  TextBuilder out(runtime);
  for (const Value& character : items) QUERN_CHECK(out.append(*character.as_text()));
  return out.finish();
}

Eval<Value> items(Runtime& runtime, const Value& subject, const Arguments& arguments) {
  QUERN_CHECK(bind<0>(arguments, {}));
  if (const Dict* dict = subject.as_dict()) return items_of(runtime, *dict);
  if (!given(subject)) return runtime.list({});
  return value_failure("a " + std::string(subject.type_name()) + " has no items");
}

Eval<Value> dictsort(Runtime& runtime, const Value& subject, const Arguments& arguments) {
  QUERN_TRY(const auto a, (bind<3>(arguments, {"case_sensitive", "by", "reverse"})));
  QUERN_TRY(const std::string by, text_argument(a[1], "key"));
  if (by != "key" && by != "value") return value_failure("dictsort sorts by key or value");
  QUERN_TRY(const Value pairs, items(runtime, subject, {}));
  const auto& pair_list = pairs.as_list()->items;
  const Value part = Value::integer(by == "value");
  QUERN_TRY(const auto keys, sort_keys(runtime, pair_list, part, a[0].truthy()));
  QUERN_TRY(auto sorted, sort_by(runtime, pair_list, keys, a[2].truthy()));
  return runtime.list(std::move(sorted));
}

Eval<Value> sort(Runtime& runtime, const Value& subject, const Arguments& arguments) {
  QUERN_TRY(const auto a, (bind<3>(arguments, {"reverse", "case_sensitive", "attribute"})));
  QUERN_TRY(auto values, iterate(runtime, subject));
  QUERN_TRY(const auto keys, sort_keys(runtime, values, a[2], a[1].truthy()));
  QUERN_TRY(auto sorted, sort_by(runtime, std::move(values), keys, a[0].truthy()));
  return runtime.list(std::move(sorted));
}

// The smallest (sign = -1) or largest item; undefined if there is none.
template <int sign>
Eval<Value> extreme(Runtime& runtime, const Value& subject, const Arguments& arguments) {
  QUERN_TRY(const auto a, (bind<2>(arguments, {"case_sensitive", "attribute"})));
  QUERN_TRY(const auto values, iterate(runtime, subject));
  QUERN_TRY(const auto keys, sort_keys(runtime, values, a[1], a[0].truthy()));
  size_t best = 0;
  for (size_t i = 1; i < values.size(); ++i) {
    QUERN_TRY(const int result, order(runtime, keys[i], keys[best]));
    if (result * sign > 0) best = i;
  }
  return values.empty() ? Value() : values[best];
}

Eval<Value> sum(Runtime& runtime, const Value& subject, const Arguments& arguments) {
  QUERN_TRY(const auto a, (bind<2>(arguments, {"attribute", "start"})));
  QUERN_TRY(const auto values, iterate(runtime, subject));
  Value total = a[1].is_undefined() ? Value::integer(0) : a[1];
  for (const Value& item : values) {
    QUERN_TRY(const Value term, given(a[0]) ? by_path(runtime, item, a[0]) : Eval<Value>(item));
    QUERN_TRY(total, binary(runtime, BinaryOperator::kAdd, total, term));
  }
  return total;
}

Eval<Value> join(Runtime& runtime, const Value& subject, const Arguments& arguments) {
  QUERN_TRY(const auto a, (bind<2>(arguments, {"d", "attribute"})));
  QUERN_TRY(const Value separator, to_text(runtime, a[0]));
  QUERN_TRY(const auto values, iterate(runtime, subject));
  TextBuilder out(runtime);
  for (size_t i = 0; i < values.size(); ++i) {
    if (i > 0) QUERN_CHECK(out.append(*separator.as_text()));
    QUERN_TRY(const Value part,
              given(a[1]) ? by_path(runtime, values[i], a[1]) : Eval<Value>(values[i]));
    QUERN_CHECK(print(runtime, part, out));
  }
  return out.finish();
}

Eval<Value> unique(Runtime& runtime, const Value& subject, const Arguments& arguments) {
  QUERN_TRY(const auto a, (bind<2>(arguments, {"case_sensitive", "attribute"})));
  QUERN_TRY(const auto values, iterate(runtime, subject));
  QUERN_TRY(const Value seen, runtime.dict());
  std::vector<Value> result;
  for (const Value& item : values) {
    QUERN_TRY(const Value key, sort_key(runtime, item, a[1], a[0].truthy()));
    if (seen.as_dict()->find(key)) continue;
    QUERN_CHECK(runtime.set(*seen.as_dict(), key, Value::none()));
    result.push_back(item);
  }
  return runtime.list(std::move(result));
}

// A list of (key, items), sorted by key.
Eval<Value> groupby(Runtime& runtime, const Value& subject, const Arguments& arguments) {
  QUERN_TRY(const auto a, (bind<3>(arguments, {"attribute", "default", "case_sensitive"})));
  QUERN_TRY(auto values, iterate(runtime, subject));
  std::vector<Value> keys;
  for (const Value& item : values) {
    QUERN_TRY(Value key, by_path(runtime, item, a[0]));
    if (key.is_undefined()) key = a[1];
    if (const std::string* text = key.as_text(); text && !a[2].truthy()) {
      QUERN_TRY(key, runtime.text(lower(*text)));
    }
    keys.push_back(std::move(key));
  }
  QUERN_TRY(auto sorted, sort_by(runtime, values, keys, false));
  QUERN_TRY(const auto sorted_keys, sort_by(runtime, keys, keys, false));
  std::vector<Value> groups;
  for (size_t i = 0; i < sorted.size(); ++i) {
    bool same = false;
    if (i > 0) {
      QUERN_TRY(same, equal(runtime, sorted_keys[i], sorted_keys[i - 1]));
    }
    if (!same) {
      // The name of a group is its first item's key, as it is written there.
      QUERN_TRY(Value name, by_path(runtime, sorted[i], a[0]));
      if (name.is_undefined()) name = a[1];
      QUERN_TRY(const Value members, runtime.list({}));
      QUERN_TRY(Value group, runtime.list({name, members}, true));
      groups.push_back(std::move(group));
    }
    QUERN_CHECK(runtime.append(*groups.back().as_list()->items[1].as_list(), sorted[i]));
  }
  return runtime.list(std::move(groups));
}

Eval<int64_t> count_argument(const Value& value) {
  QUERN_TRY(const int64_t count, integer_argument(value, 0));
  if (count < 1) return value_failure("a count of at least 1 is expected");
  return count;
}

// Rows of `linecount` items; the last row is filled up if there is something to fill it with.
Eval<Value> batch(Runtime& runtime, const Value& subject, const Arguments& arguments) {
  QUERN_TRY(const auto a, (bind<2>(arguments, {"linecount", "fill_with"})));
  QUERN_TRY(const int64_t count, count_argument(a[0]));
  QUERN_TRY(const auto values, iterate(runtime, subject));
  QUERN_TRY(Value rows, runtime.list({}));
  List* row = nullptr;
  const auto add = [&](const Value& item) -> Eval<void> {
    if (!row || row->items.size() == static_cast<size_t>(count)) {
      QUERN_TRY(const Value next, runtime.list({}));
      row = next.as_list();
      QUERN_CHECK(runtime.append(*rows.as_list(), next));
    }
    return runtime.append(*row, item);
  };
  for (const Value& item : values) QUERN_CHECK(add(item));
  while (row && given(a[1]) && row->items.size() < static_cast<size_t>(count)) {
    QUERN_CHECK(add(a[1]));
  }
  return rows;
}

// `slices` columns of nearly equal length; shorter ones get one fill item if there is one.
Eval<Value> slice_columns(Runtime& runtime, const Value& subject, const Arguments& arguments) {
  QUERN_TRY(const auto a, (bind<2>(arguments, {"slices", "fill_with"})));
  QUERN_TRY(const int64_t count, count_argument(a[0]));
  QUERN_TRY(const auto values, iterate(runtime, subject));
  const size_t slices = static_cast<size_t>(count);
  const size_t short_length = values.size() / slices, longer = values.size() % slices;
  QUERN_TRY(Value columns, runtime.list({}));
  size_t at = 0;
  for (size_t column = 0; column < slices; ++column) {
    const size_t end = at + short_length + (column < longer);
    std::vector<Value> part(values.begin() + static_cast<ptrdiff_t>(at),
                            values.begin() + static_cast<ptrdiff_t>(end));
    if (given(a[1]) && longer > 0 && column >= longer) part.push_back(a[1]);
    QUERN_TRY(const Value list, runtime.list(std::move(part)));
    QUERN_CHECK(runtime.append(*columns.as_list(), list));
    at = end;
  }
  return columns;
}

constexpr NamedFunction kFilters[] = {
    {"batch", batch},       {"count", length},    {"d", default_value}, {"default", default_value},
    {"dictsort", dictsort}, {"first", first},     {"groupby", groupby}, {"items", items},
    {"join", join},         {"last", last},       {"length", length},   {"list", list},
    {"max", extreme<1>},    {"min", extreme<-1>}, {"reverse", reverse}, {"slice", slice_columns},
    {"sort", sort},         {"sum", sum},         {"unique", unique},
};

}  // namespace

std::span<const NamedFunction> sequence_filters() { return kFilters; }

}  // namespace quern::engine::jinja
