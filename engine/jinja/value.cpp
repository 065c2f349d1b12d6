// Values: kinds, truth and dictionaries.
#include "engine/jinja/value.h"

#include <cmath>

namespace quern::engine::jinja {
namespace {

// Equal keys have equal canonical forms: 1, 1.0 and true are one key, as in Python.
std::string canonical(const Value& key) {
  if (const std::string* text = key.as_text()) return "s" + *text;
  if (const auto integer = key.as_integer()) return "i" + std::to_string(*integer);
  if (const auto number = key.as_number()) {
    const bool whole = std::abs(*number) < 0x1p53 && std::floor(*number) == *number;
    return whole ? "i" + std::to_string(static_cast<int64_t>(*number))
                 : "f" + std::to_string(*number);
  }
  return "n";
}

}  // namespace

tl::unexpected<std::unique_ptr<Failure>> failure(std::string code, std::string message) {
  return tl::unexpected(
      std::make_unique<Failure>(Failure{std::move(code), std::move(message), {}, 0}));
}

tl::unexpected<std::unique_ptr<Failure>> value_failure(std::string message) {
  return failure("template-value", std::move(message));
}

bool Value::truthy() const {
  switch (kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
    case Kind::kInteger:
    case Kind::kFloat:
      return *as_number() != 0;
    case Kind::kString:
      return !as_text()->empty();
    case Kind::kList:
      return !as_list()->items.empty();
    case Kind::kDict:
      return !as_dict()->entries().empty();
    case Kind::kObject:
      return true;
  }
  return false;
}

std::string_view Value::type_name() const {
  switch (kind()) {
    case Kind::kUndefined:
      return "undefined";
    case Kind::kNone:
      return "none";
    case Kind::kBool:
      return "boolean";
    case Kind::kInteger:
      return "integer";
    case Kind::kFloat:
      return "float";
    case Kind::kString:
      return "string";
    case Kind::kList:
      return as_list()->is_tuple ? "tuple" : "list";
    case Kind::kDict:
      return "dict";
    case Kind::kObject:
      return as_object()->type_name();
  }
  return "";
}

const std::string* Value::as_text() const {
  const Text* text = std::get_if<Text>(&data_);
  return text ? text->get() : nullptr;
}

List* Value::as_list() const {
  List* const* list = std::get_if<List*>(&data_);
  return list ? *list : nullptr;
}

Dict* Value::as_dict() const {
  Dict* const* dict = std::get_if<Dict*>(&data_);
  return dict ? *dict : nullptr;
}

Object* Value::as_object() const {
  Object* const* object = std::get_if<Object*>(&data_);
  return object ? *object : nullptr;
}

std::optional<int64_t> Value::as_integer() const {
  if (const bool* boolean = std::get_if<bool>(&data_)) return *boolean;
  if (const int64_t* integer = std::get_if<int64_t>(&data_)) return *integer;
  return std::nullopt;
}

std::optional<double> Value::as_number() const {
  if (const double* real = std::get_if<double>(&data_)) return *real;
  if (const auto integer = as_integer()) return static_cast<double>(*integer);
  return std::nullopt;
}

bool Dict::hashable(const Value& key) { return key.as_text() || key.as_number() || key.is_none(); }

const Value* Dict::at(const std::string& index_key) const {
  const auto found = index_.find(index_key);
  return found == index_.end() ? nullptr : &entries_[found->second].value;
}

const Value* Dict::find(const Value& key) const {
  return hashable(key) ? at(canonical(key)) : nullptr;
}

const Value* Dict::find(std::string_view key) const { return at("s" + std::string(key)); }

void Dict::set(const Value& key, Value value) {
  const auto [position, added] = index_.try_emplace(canonical(key), entries_.size());
  if (added) {
    entries_.push_back({key, std::move(value)});
  } else {
    entries_[position->second].value = std::move(value);
  }
}

void Dict::erase(const Value& key) {
  const auto found = index_.find(canonical(key));
  if (found == index_.end()) return;
  const size_t position = found->second;
  index_.erase(found);
  entries_.erase(entries_.begin() + static_cast<ptrdiff_t>(position));
  for (auto& [name, at] : index_) at -= at > position;
}

void Dict::clear() {
  entries_.clear();
  index_.clear();
}

Eval<void> Object::assign(Runtime&, std::string_view, const Value&) {
  return value_failure("the attributes of a " + std::string(type_name()) + " cannot be set");
}

Eval<Value> Object::call(Runtime&, const Arguments&) {
  return value_failure("a " + std::string(type_name()) + " cannot be called");
}

}  // namespace quern::engine::jinja
