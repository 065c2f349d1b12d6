// The data of a chat template: Python's plain values. Containers are shared by reference and owned
// by the Runtime of one rendering; strings are immutable and counted.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "gguf/result.h"

namespace quern::engine::jinja {

class Dict;
class Object;
class Runtime;
struct List;

// Why a template could not be parsed or rendered. Behind a pointer, so that the Result of every
// evaluation step stays small: evaluation is recursive.
struct Failure {
  std::string code;     // as in quern::Error
  std::string message;  // a sentence, texts of the template escaped
  std::string found;    // raise_exception: the template's own message, as it is
  uint32_t line = 0;    // of the template; 0 until a node of the tree is known
};
template <typename T>
using Eval = tl::expected<T, std::unique_ptr<Failure>>;
tl::unexpected<std::unique_ptr<Failure>> failure(std::string code, std::string message);
// A value of a wrong type or range: code "template-value".
tl::unexpected<std::unique_ptr<Failure>> value_failure(std::string message);

enum class Kind : uint8_t {
  kUndefined,
  kNone,
  kBool,
  kInteger,
  kFloat,
  kString,
  kList,  // and tuples
  kDict,
  kObject,  // functions, macros, namespaces, loops
};

class Value {
 public:
  using Text = std::shared_ptr<const std::string>;

  Value() = default;  // undefined
  Value(List* list) : data_(list) {}
  Value(Dict* dict) : data_(dict) {}
  Value(Object* object) : data_(object) {}
  static Value none() { return Value(Data(None{})); }
  static Value boolean(bool value) { return Value(Data(value)); }
  static Value integer(int64_t value) { return Value(Data(value)); }
  static Value real(double value) { return Value(Data(value)); }
  static Value text(Text value) { return Value(Data(std::move(value))); }
  // A view of a string that outlives the rendering, such as a literal of the template.
  static Value borrowed(const std::string& text) {
    return Value(Data(Text(std::shared_ptr<void>(), &text)));
  }

  Kind kind() const { return static_cast<Kind>(data_.index()); }
  bool is(Kind kind) const { return this->kind() == kind; }
  bool is_undefined() const { return is(Kind::kUndefined); }
  bool is_none() const { return is(Kind::kNone); }
  bool truthy() const;
  std::string_view type_name() const;  // "string", as messages name it

  // nullptr or nullopt when the value is of another kind.
  const std::string* as_text() const;
  List* as_list() const;
  Dict* as_dict() const;
  Object* as_object() const;
  std::optional<int64_t> as_integer() const;  // booleans count as 0 and 1
  std::optional<double> as_number() const;    // any number or boolean

 private:
  struct None {};
  // In the order of Kind.
  using Data =
      std::variant<std::monostate, None, bool, int64_t, double, Text, List*, Dict*, Object*>;
  explicit Value(Data data) : data_(std::move(data)) {}
  Data data_;
};

struct List {
  std::vector<Value> items;
  bool is_tuple = false;
};

// Keeps the order of insertion. Keys are strings, numbers, booleans and none.
class Dict {
 public:
  struct Entry {
    Value key;
    Value value;
  };
  const std::vector<Entry>& entries() const { return entries_; }
  static bool hashable(const Value& key);

  const Value* find(const Value& key) const;  // nullptr if absent
  const Value* find(std::string_view key) const;
  void set(const Value& key, Value value);  // key must be hashable
  void erase(const Value& key);
  void clear();

 private:
  const Value* at(const std::string& index_key) const;
  std::vector<Entry> entries_;
  std::unordered_map<std::string, size_t> index_;  // canonical form of a key -> entries_
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string_view, Value>> named;
};

// A function that belongs to a value: `self.name(arguments)`.
using Method = Eval<Value> (*)(Runtime&, const Value& self, const Arguments&);

// What is neither data nor text. Owned by the Runtime.
class Object {
 public:
  virtual ~Object() = default;
  virtual std::string_view type_name() const = 0;
  virtual Value attribute(std::string_view) const { return {}; }
  virtual Method method(std::string_view) const { return nullptr; }
  // Namespaces only; others fail with "template-value".
  virtual Eval<void> assign(Runtime& runtime, std::string_view name, const Value& value);
  virtual bool callable() const { return false; }
  virtual Eval<Value> call(Runtime& runtime, const Arguments& arguments);
};

}  // namespace quern::engine::jinja
