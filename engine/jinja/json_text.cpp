#include "engine/jinja/json_text.h"

#include <nlohmann/json.hpp>

namespace quern::engine::jinja {
namespace {

using Json = nlohmann::ordered_json;

// Takes the events of the JSON parser; every function returns whether to go on.
class Builder final : public nlohmann::json_sax<Json> {
 public:
  explicit Builder(Runtime& runtime) : runtime_(runtime) {}

  // After the parser has returned whether the text is JSON.
  Eval<Value> finish(bool complete) {
    if (failure_) return tl::unexpected(std::move(failure_));
    return complete ? root_ : Value();
  }

  bool null() override { return add(Value::none()); }
  bool boolean(bool value) override { return add(Value::boolean(value)); }
  bool number_integer(int64_t value) override { return add(Value::integer(value)); }
  bool number_unsigned(uint64_t value) override {
    if (value > INT64_MAX) return add(Value::real(static_cast<double>(value)));
    return add(Value::integer(static_cast<int64_t>(value)));
  }
  bool number_float(double value, const std::string&) override { return add(Value::real(value)); }
  bool string(std::string& text) override { return add(runtime_.text(text)); }
  bool binary(Json::binary_t&) override { return false; }  // no text has any
  bool start_object(size_t) override { return open(runtime_.dict()); }
  bool start_array(size_t) override { return open(runtime_.list({})); }
  bool key(std::string& text) override { return keep(runtime_.text(text), open_.back().key); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool parse_error(size_t, const std::string&, const nlohmann::json::exception&) override {
    return false;
  }

 private:
  struct Level {
    Value container, key;
  };

  // Whether the step succeeded; the parser stops at the first that did not.
  template <typename T>
  bool check(Eval<T>& result) {
    if (!result) failure_ = std::move(result.error());
    return result.has_value();
  }
  bool keep(Eval<Value> value, Value& place) {
    if (!check(value)) return false;
    place = std::move(*value);
    return true;
  }
  bool add(Eval<Value> value) {
    if (!check(value)) return false;
    if (open_.empty()) {
      root_ = std::move(*value);
      return true;
    }
    const auto& [container, key] = open_.back();
    Eval<void> added = container.as_list() ? runtime_.append(*container.as_list(), *value)
                                           : runtime_.set(*container.as_dict(), key, *value);
    return check(added);
  }
  bool open(Eval<Value> container) {
    Value opened;
    if (!keep(std::move(container), opened) || !add(opened)) return false;
    open_.push_back({opened, {}});
    if (open_.size() <= runtime_.limits().depth) return true;
    failure_ = failure("template-limit", "has JSON that nests too deep").value();
    return false;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  Runtime& runtime_;
  Value root_;
  std::vector<Level> open_;
  std::unique_ptr<Failure> failure_;
};

}  // namespace

Eval<Value> parse_json(Runtime& runtime, std::string_view text) {
  Builder builder(runtime);
  const bool complete = Json::sax_parse(text, &builder);
  return builder.finish(complete);
}

}  // namespace quern::engine::jinja
