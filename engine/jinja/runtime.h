// Runtime: the memory and the allowance of one rendering. Everything that grows is made through it,
// so a template can neither exhaust the machine nor run for long.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <deque>
#include <limits>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/jinja/value.h"

namespace quern::engine::jinja {

struct Limits {
  uint64_t steps = 20'000'000;       // evaluated nodes, list items touched, 64-byte units of text
  uint32_t depth = 1000;             // nested evaluations, macro calls included; 1-2 KiB stack each
  size_t output_bytes = 64u << 20;   // of the rendered text
  size_t memory_bytes = 256u << 20;  // alive at once: strings, containers, texts being built
};

class Runtime {
 public:
  // `now`: what strftime_now() prints; the local time if not given.
  explicit Runtime(const Limits& limits, std::optional<std::tm> now = std::nullopt);
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  // Errors of all below: "template-limit".
  Eval<void> spend(uint64_t steps);
  Eval<void> spend_bytes(uint64_t bytes) { return spend(bytes / 64 + 1); }
  // The steps to look at a value once: its length.
  Eval<void> spend_on(const Value& value);
  // The steps of a naive search for `needle_bytes` in `text_bytes`.
  Eval<void> spend_on_search(size_t text_bytes, size_t needle_bytes);
  // Room for `bytes` more, taken until the rendering ends or release().
  Eval<void> take(size_t bytes);
  void release(size_t bytes) { meter_.used -= bytes; }

  Eval<Value> text(std::string text);
  Eval<Value> list(std::vector<Value> items, bool is_tuple = false);
  Eval<Value> dict();
  Eval<void> append(List& list, Value value);
  Eval<void> insert(List& list, size_t position, Value value);  // position <= size
  Eval<void> set(Dict& dict, const Value& key, Value value);    // + "template-value": unhashable
  template <typename T, typename... Arguments>
  Eval<T*> object(Arguments&&... arguments) {
    if (auto taken = take(sizeof(T)); !taken) return tl::unexpected(std::move(taken.error()));
    auto owned = std::make_unique<T>(std::forward<Arguments>(arguments)...);
    T* raw = owned.get();
    objects_.push_back(std::move(owned));
    return raw;
  }

  // A private copy of `json`: lists and dicts are new, so templates may change them.
  Eval<Value> from_json(const nlohmann::ordered_json& json);
  // The same for the members of a JSON object, as members of `dict`.
  Eval<void> set_members(Dict& dict, const nlohmann::ordered_json& object);

  // Counts nested evaluations while it lives; entered() is false past the limit.
  class Nesting {
   public:
    explicit Nesting(Runtime& runtime) : runtime_(runtime) { ++runtime_.depth_; }
    ~Nesting() { --runtime_.depth_; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;
    Eval<void> check() const;

   private:
    Runtime& runtime_;
  };

  // Memory for intermediate results of a known size, given back when it goes.
  class Scratch {
   public:
    explicit Scratch(Runtime& runtime) : runtime_(runtime) {}
    ~Scratch() { runtime_.release(bytes_); }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    Eval<void> take(size_t bytes);

   private:
    Runtime& runtime_;
    size_t bytes_ = 0;
  };

  const Limits& limits() const { return limits_; }
  const std::optional<std::tm>& now() const { return now_; }

 private:
  struct Meter {
    size_t used = 0;
  };
  struct MeteredText;

  Meter meter_;  // first: strings return their bytes when the containers below are destroyed
  Limits limits_;
  std::optional<std::tm> now_;
  uint64_t steps_ = 0;
  uint32_t depth_ = 0;
  std::deque<List> lists_;
  std::deque<Dict> dicts_;
  std::vector<std::unique_ptr<Object>> objects_;
};

// A string under construction, counted as memory while it grows.
class TextBuilder {
 public:
  explicit TextBuilder(Runtime& runtime, size_t limit = std::numeric_limits<size_t>::max())
      : runtime_(runtime), limit_(limit) {}
  ~TextBuilder() { runtime_.release(text_.size()); }
  TextBuilder(const TextBuilder&) = delete;
  TextBuilder& operator=(const TextBuilder&) = delete;

  Eval<void> append(std::string_view text);
  Eval<void> append(size_t count, char character);
  const std::string& text() const { return text_; }
  Eval<Value> finish();  // the text as a value; the builder is empty afterwards

 private:
  Eval<void> grow(size_t bytes);
  Runtime& runtime_;
  size_t limit_;
  std::string text_;
};

// Arguments by position or name; what is not given is undefined. Errors: "template-value" for
// arguments that `names` does not have.
template <size_t N>
Eval<std::array<Value, N>> bind(const Arguments& arguments,
                                const std::array<std::string_view, N>& names);

Eval<void> bind_into(const Arguments& arguments, const std::string_view* names, Value* values,
                     size_t count);

template <size_t N>
Eval<std::array<Value, N>> bind(const Arguments& arguments,
                                const std::array<std::string_view, N>& names) {
  std::array<Value, N> values;
  if (auto bound = bind_into(arguments, names.data(), values.data(), N); !bound) {
    return tl::unexpected(std::move(bound.error()));
  }
  return values;
}

// What `for` would go through: items, keys or characters. Errors: "template-value", not iterable.
Eval<std::vector<Value>> iterate(Runtime& runtime, const Value& value);

}  // namespace quern::engine::jinja
