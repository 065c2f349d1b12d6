// Allocation under limits, and the conversion from JSON.
#include "engine/jinja/runtime.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/utf8.h"

namespace quern::engine::jinja {
namespace {

constexpr size_t kTextOverhead = 64;    // bytes of a string besides its characters, about
constexpr size_t kEntryOverhead = 160;  // bytes of a dict entry: two values, index node, key

}  // namespace

// A string that gives its bytes back to the meter.
struct Runtime::MeteredText {
  std::string text;
  Meter& meter;
  ~MeteredText() { meter.used -= text.size() + kTextOverhead; }
};

Runtime::Runtime(const Limits& limits, std::optional<std::tm> now) : limits_(limits), now_(now) {}

Eval<void> Runtime::spend(uint64_t steps) {
  if (steps > limits_.steps - steps_) {
    steps_ = limits_.steps;
    return failure("template-limit",
                   "takes more than " + std::to_string(limits_.steps) + " steps to render");
  }
  steps_ += steps;
  return {};
}

Eval<void> Runtime::spend_on(const Value& value) {
  if (const std::string* text = value.as_text()) return spend_bytes(text->size());
  if (const List* list = value.as_list()) return spend(list->items.size() + 1);
  if (const Dict* dict = value.as_dict()) return spend(dict->entries().size() + 1);
  return spend(1);
}

Eval<void> Runtime::spend_on_search(size_t text_bytes, size_t needle_bytes) {
  QUERN_CHECK(spend_bytes(text_bytes));
  if (needle_bytes > text_bytes) return {};
  const uint64_t window = std::min(needle_bytes, text_bytes - needle_bytes + 1);
  return spend(static_cast<uint64_t>(text_bytes) * window / 4096);
}

Eval<void> Runtime::take(size_t bytes) {
  if (bytes > limits_.memory_bytes - meter_.used) {
    return failure("template-limit", "needs more than " +
                                         std::to_string(limits_.memory_bytes >> 20) +
                                         " MiB of memory to render");
  }
  meter_.used += bytes;
  return {};
}

Eval<Value> Runtime::text(std::string text) {
  QUERN_CHECK(spend_bytes(text.size()));
  QUERN_CHECK(take(text.size() + kTextOverhead));
  const auto box = std::make_shared<MeteredText>(std::move(text), meter_);
  return Value::text(Value::Text(box, &box->text));
}

Eval<Value> Runtime::list(std::vector<Value> items, bool is_tuple) {
  QUERN_CHECK(spend(items.size() + 1));
  QUERN_CHECK(take(sizeof(List) + items.size() * sizeof(Value)));
  lists_.push_back({std::move(items), is_tuple});
  return Value(&lists_.back());
}

Eval<Value> Runtime::dict() {
  QUERN_CHECK(take(sizeof(Dict)));
  return Value(&dicts_.emplace_back());
}

Eval<void> Runtime::append(List& list, Value value) {
  return insert(list, list.items.size(), std::move(value));
}

Eval<void> Runtime::insert(List& list, size_t position, Value value) {
  QUERN_CHECK(spend(list.items.size() - position + 1));
  QUERN_CHECK(take(sizeof(Value)));
  list.items.insert(list.items.begin() + static_cast<ptrdiff_t>(position), std::move(value));
  return {};
}

Eval<void> Runtime::set(Dict& dict, const Value& key, Value value) {
  if (!Dict::hashable(key)) {
    return value_failure("a " + std::string(key.type_name()) + " cannot be the key of a dict");
  }
  const size_t key_bytes = key.as_text() ? key.as_text()->size() : 0;
  QUERN_CHECK(spend_bytes(key_bytes));
  QUERN_CHECK(take(kEntryOverhead + key_bytes));
  dict.set(key, std::move(value));
  return {};
}

Eval<Value> Runtime::from_json(const nlohmann::ordered_json& json) {
  const Nesting nesting(*this);
  QUERN_CHECK(nesting.check());
  QUERN_CHECK(spend(1));
  if (json.is_string()) return text(json.get_ref<const std::string&>());
  if (json.is_boolean()) return Value::boolean(json.get<bool>());
  if (json.is_number_unsigned()) {
    const auto number = json.get<uint64_t>();
    if (number > INT64_MAX) return Value::real(static_cast<double>(number));
    return Value::integer(static_cast<int64_t>(number));
  }
  if (json.is_number_integer()) return Value::integer(json.get<int64_t>());
  if (json.is_number()) return Value::real(json.get<double>());
  if (json.is_array()) {
    std::vector<Value> items;
    for (const auto& element : json) {
      QUERN_TRY(Value item, from_json(element));
      items.push_back(std::move(item));
    }
    return list(std::move(items));
  }
  if (json.is_object()) {
    QUERN_TRY(Value result, dict());
    QUERN_CHECK(set_members(*result.as_dict(), json));
    return result;
  }
  return Value::none();
}

Eval<void> Runtime::set_members(Dict& dict, const nlohmann::ordered_json& object) {
  for (const auto& [name, element] : object.items()) {
    QUERN_TRY(Value item, from_json(element));
    QUERN_TRY(const Value key, text(name));
    QUERN_CHECK(set(dict, key, std::move(item)));
  }
  return {};
}

Eval<void> Runtime::Nesting::check() const {
  if (runtime_.depth_ <= runtime_.limits_.depth) return {};
  return failure("template-limit", "nests deeper than " + std::to_string(runtime_.limits_.depth) +
                                       " levels, perhaps a macro that calls itself");
}

Eval<void> Runtime::Scratch::take(size_t bytes) {
  QUERN_CHECK(runtime_.take(bytes));
  bytes_ += bytes;
  return {};
}

Eval<void> TextBuilder::grow(size_t bytes) {
  if (bytes > limit_ - text_.size()) {
    return failure("template-limit", "renders to more than " + std::to_string(limit_) + " bytes");
  }
  QUERN_CHECK(runtime_.spend(bytes / 64));
  return runtime_.take(bytes);
}

Eval<void> TextBuilder::append(std::string_view text) {
  QUERN_CHECK(grow(text.size()));
  text_ += text;
  return {};
}

Eval<void> TextBuilder::append(size_t count, char character) {
  QUERN_CHECK(grow(count));
  text_.append(count, character);
  return {};
}

Eval<Value> TextBuilder::finish() {
  runtime_.release(text_.size());
  return runtime_.text(std::exchange(text_, {}));
}

Eval<void> bind_into(const Arguments& arguments, const std::string_view* names, Value* values,
                     size_t count) {
  if (arguments.positional.size() > count) {
    return value_failure("at most " + std::to_string(count) + " arguments are expected, not " +
                         std::to_string(arguments.positional.size()));
  }
  std::copy(arguments.positional.begin(), arguments.positional.end(), values);
  for (const auto& [name, value] : arguments.named) {
    const auto* found = std::find(names, names + count, name);
    if (found == names + count) {
      return value_failure("there is no argument called " + escape(name));
    }
    values[found - names] = value;
  }
  return {};
}

Eval<std::vector<Value>> iterate(Runtime& runtime, const Value& value) {
  QUERN_CHECK(runtime.spend_on(value));
  std::vector<Value> items;
  if (const List* list = value.as_list()) {
    items = list->items;
  } else if (const Dict* dict = value.as_dict()) {
    for (const auto& entry : dict->entries()) items.push_back(entry.key);
  } else if (const std::string* text = value.as_text()) {
    for (size_t at = 0; at < text->size();) {
      const uint32_t length = utf8::decode(*text, at).length;
      QUERN_TRY(Value character, runtime.text(text->substr(at, length)));
      items.push_back(std::move(character));
      at += length;
    }
  } else if (!value.is_undefined()) {
    return value_failure("a " + std::string(value.type_name()) + " cannot be iterated over");
  }
  return items;
}

}  // namespace quern::engine::jinja
