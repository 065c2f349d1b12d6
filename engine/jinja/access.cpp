// Lookup by Jinja's rules.
#include "engine/jinja/access.h"

#include <algorithm>

#include "engine/jinja/methods.h"
#include "engine/jinja/text.h"
#include "engine/utf8.h"

namespace quern::engine::jinja {
namespace {

// `object.method` without a call.
class BoundMethod : public Object {
 public:
  BoundMethod(Value self, Method function) : self_(std::move(self)), function_(function) {}
  std::string_view type_name() const override { return "method"; }
  bool callable() const override { return true; }
  Eval<Value> call(Runtime& runtime, const Arguments& arguments) override {
    QUERN_CHECK(runtime.spend_on(self_));
    return function_(runtime, self_, arguments);
  }

 private:
  Value self_;
  Method function_;
};

// Python's bounds for a slice: positions start, start + step, ... before stop.
struct Range {
  int64_t start, stop, step;
};

Eval<Range> slice_range(size_t length, const Value& start, const Value& stop, const Value& step) {
  const auto bound = [](const Value& value, int64_t fallback) -> Eval<int64_t> {
    if (value.is_undefined() || value.is_none()) return fallback;
    if (const auto integer = value.as_integer()) return *integer;
    return value_failure("a slice needs integers, not a " + std::string(value.type_name()));
  };
  Range range{};
  QUERN_TRY(range.step, bound(step, 1));
  if (range.step == 0) return value_failure("the step of a slice is zero");
  const auto size = static_cast<int64_t>(length);
  const bool backwards = range.step < 0;
  // Backwards, the position before the first one is -1, and the last start is size - 1.
  const auto clamp = [&](int64_t index) {
    if (index < 0) index = std::max(index, -size - 1) + size;
    return backwards ? std::clamp<int64_t>(index, -1, size - 1)
                     : std::clamp<int64_t>(index, 0, size);
  };
  QUERN_TRY(const int64_t first, bound(start, backwards ? INT64_MAX : 0));
  range.start = clamp(first);
  const bool to_the_start = backwards && (stop.is_undefined() || stop.is_none());
  QUERN_TRY(const int64_t last, bound(stop, INT64_MAX));
  range.stop = to_the_start ? -1 : clamp(last);
  range.step = std::clamp(range.step, -size - 1, size + 1);
  return range;
}

Eval<Value> text_slice(Runtime& runtime, const std::string& text, const Range& range) {
  Runtime::Scratch scratch(runtime);
  QUERN_CHECK(scratch.take((text.size() + 1) * sizeof(size_t)));
  std::vector<size_t> starts;  // of each code point, and the end
  for (size_t at = 0; at < text.size(); at += utf8::decode(text, at).length) starts.push_back(at);
  starts.push_back(text.size());
  std::string out;
  for (int64_t i = range.start; range.step > 0 ? i < range.stop : i > range.stop; i += range.step) {
    const auto at = static_cast<size_t>(i);
    out += text.substr(starts[at], starts[at + 1] - starts[at]);
  }
  return runtime.text(std::move(out));
}

// The character at a Python index, or undefined.
Eval<Value> character(Runtime& runtime, const std::string& text, int64_t index) {
  const auto length = static_cast<int64_t>(utf8::length(text));
  if (index < 0) index += length;
  if (index < 0 || index >= length) return Value();
  const size_t at = byte_position(text, static_cast<size_t>(index));
  return runtime.text(text.substr(at, utf8::decode(text, at).length));
}

}  // namespace

Eval<Value> attribute(Runtime& runtime, const Value& object, std::string_view name) {
  if (const Method method = find_method(object, name)) {
    QUERN_TRY(BoundMethod * bound, runtime.object<BoundMethod>(object, method));
    return Value(bound);
  }
  if (const Dict* dict = object.as_dict()) {
    const Value* found = dict->find(name);
    return found ? *found : Value();
  }
  if (const Object* other = object.as_object()) return other->attribute(name);
  return Value();
}

Eval<Value> subscript(Runtime& runtime, const Value& object, const Value& index) {
  if (const Dict* dict = object.as_dict()) {
    if (const Value* found = dict->find(index)) return *found;
  }
  if (const std::string* name = index.as_text()) return attribute(runtime, object, *name);
  const auto position = index.as_integer();
  if (!position) return Value();
  if (const List* list = object.as_list()) {
    const auto size = static_cast<int64_t>(list->items.size());
    const int64_t at = *position < 0 ? *position + size : *position;
    return at < 0 || at >= size ? Value() : list->items[static_cast<size_t>(at)];
  }
  if (const std::string* text = object.as_text()) {
    QUERN_CHECK(runtime.spend_bytes(text->size() * 16));
    return character(runtime, *text, *position);
  }
  return Value();
}

Eval<Value> slice(Runtime& runtime, const Value& object, const Value& start, const Value& stop,
                  const Value& step) {
  QUERN_CHECK(runtime.spend_on(object));
  if (const std::string* text = object.as_text()) {
    const size_t length = utf8::length(*text);
    QUERN_CHECK(runtime.spend(length));
    QUERN_TRY(const Range range, slice_range(length, start, stop, step));
    return text_slice(runtime, *text, range);
  }
  if (object.is_undefined()) return Value();
  const List* list = object.as_list();
  if (!list) return value_failure("a " + std::string(object.type_name()) + " has no slices");
  QUERN_TRY(const Range range, slice_range(list->items.size(), start, stop, step));
  std::vector<Value> items;
  for (int64_t i = range.start; range.step > 0 ? i < range.stop : i > range.stop; i += range.step) {
    items.push_back(list->items[static_cast<size_t>(i)]);
  }
  return runtime.list(std::move(items), list->is_tuple);
}

Eval<Value> by_path(Runtime& runtime, const Value& item, const Value& path) {
  const std::string* names = path.as_text();
  if (!names) return subscript(runtime, item, path);
  Value part = item;
  for (size_t at = 0; at <= names->size();) {
    const size_t end = std::min(names->find('.', at), names->size());
    const std::string name = names->substr(at, end - at);
    const auto position = parse_integer(name, 10);
    QUERN_TRY(const Value index, position ? Value::integer(*position) : runtime.text(name));
    QUERN_TRY(part, subscript(runtime, part, index));
    at = end + 1;
  }
  return part;
}

}  // namespace quern::engine::jinja
