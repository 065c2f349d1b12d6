// raise_exception, strftime_now, namespace, range, dict, cycler and joiner.
#include "engine/jinja/globals.h"

#include <algorithm>
#include <ctime>

#include "engine/jinja/clock.h"

namespace quern::engine::jinja {
namespace {

class Function : public Object {
 public:
  using Body = Eval<Value> (*)(Runtime&, const Arguments&);
  explicit Function(Body body) : body_(body) {}
  std::string_view type_name() const override { return "function"; }
  bool callable() const override { return true; }
  Eval<Value> call(Runtime& runtime, const Arguments& arguments) override {
    return body_(runtime, arguments);
  }

 private:
  Body body_;
};

// The only value whose attributes a template may set.
class Namespace : public Object {
 public:
  explicit Namespace(Dict& attributes) : attributes_(attributes) {}
  std::string_view type_name() const override { return "namespace"; }
  Value attribute(std::string_view name) const override {
    const Value* found = attributes_.find(name);
    return found ? *found : Value();
  }
  Eval<void> assign(Runtime& runtime, std::string_view name, const Value& value) override {
    QUERN_TRY(const Value key, runtime.text(std::string(name)));
    return runtime.set(attributes_, key, value);
  }

 private:
  Dict& attributes_;
};

// Goes through its values again and again: next(), current, reset().
class Cycler : public Object {
 public:
  explicit Cycler(std::vector<Value> values) : values_(std::move(values)) {}
  std::string_view type_name() const override { return "cycler"; }
  Value attribute(std::string_view name) const override {
    return name == "current" ? values_[at_] : Value();
  }
  Method method(std::string_view name) const override {
    if (name == "next") return next;
    return name == "reset" ? reset : nullptr;
  }

 private:
  static Eval<Value> next(Runtime&, const Value& self, const Arguments&) {
    auto* cycler = static_cast<Cycler*>(self.as_object());
    const size_t at = std::exchange(cycler->at_, (cycler->at_ + 1) % cycler->values_.size());
    return cycler->values_[at];
  }
  static Eval<Value> reset(Runtime&, const Value& self, const Arguments&) {
    static_cast<Cycler*>(self.as_object())->at_ = 0;
    return Value::none();
  }
  std::vector<Value> values_;  // not empty
  size_t at_ = 0;
};

// Empty at the first call, the separator at every other.
class Joiner : public Object {
 public:
  explicit Joiner(Value separator) : separator_(std::move(separator)) {}
  std::string_view type_name() const override { return "joiner"; }
  bool callable() const override { return true; }
  Eval<Value> call(Runtime& runtime, const Arguments&) override {
    return std::exchange(used_, true) ? separator_ : runtime.text("");
  }

 private:
  Value separator_;
  bool used_ = false;
};

Eval<Value> raise_exception(Runtime&, const Arguments& arguments) {
  QUERN_TRY(const auto a, (bind<1>(arguments, {"message"})));
  const std::string message = a[0].as_text() ? *a[0].as_text() : "";
  auto result = failure("template-raised", "refuses: " + escape(message, 500));
  result.value()->found = message;
  return result;
}

Eval<Value> strftime_now(Runtime& runtime, const Arguments& arguments) {
  QUERN_TRY(const auto a, (bind<1>(arguments, {"format"})));
  QUERN_TRY(const std::string format, text_argument(a[0], ""));
  if (format.size() > 1000) return value_failure("strftime_now() takes a short format");
  return runtime.text(format_time(runtime.now() ? *runtime.now() : local_time(), format));
}

Eval<Value> dict(Runtime& runtime, const Arguments& arguments) {
  QUERN_TRY(Value result, runtime.dict());
  QUERN_TRY(const Value ignored, find_method(result, "update")(runtime, result, arguments));
  (void)ignored;
  return result;
}

Eval<Value> make_namespace(Runtime& runtime, const Arguments& arguments) {
  QUERN_TRY(const Value attributes, dict(runtime, arguments));
  QUERN_TRY(Namespace * result, runtime.object<Namespace>(*attributes.as_dict()));
  return Value(result);
}

Eval<Value> range(Runtime& runtime, const Arguments& arguments) {
  QUERN_TRY(const auto a, (bind<3>(arguments, {"start", "stop", "step"})));
  int64_t bounds[3] = {0, 0, 1};
  for (size_t i = 0; i < 3; ++i) {
    if (a[i].is_undefined()) continue;
    if (!a[i].as_integer()) return value_failure("range() takes integers");
    bounds[i] = *a[i].as_integer();
  }
  auto [start, stop, step] = bounds;
  if (a[1].is_undefined()) stop = std::exchange(start, 0);
  if (step == 0) return value_failure("the step of a range is zero");
  QUERN_TRY(Value result, runtime.list({}));
  while (step > 0 ? start < stop : start > stop) {
    QUERN_CHECK(runtime.append(*result.as_list(), Value::integer(start)));
    if (__builtin_add_overflow(start, step, &start)) break;
  }
  return result;
}

Eval<Value> cycler(Runtime& runtime, const Arguments& arguments) {
  if (arguments.positional.empty()) return value_failure("cycler() takes at least one value");
  QUERN_TRY(Cycler * result, runtime.object<Cycler>(arguments.positional));
  return Value(result);
}

Eval<Value> joiner(Runtime& runtime, const Arguments& arguments) {
  QUERN_TRY(const auto a, (bind<1>(arguments, {"sep"})));
  QUERN_TRY(Value separator, a[0].is_undefined() ? runtime.text(", ") : Eval<Value>(a[0]));
  QUERN_TRY(Joiner * result, runtime.object<Joiner>(std::move(separator)));
  return Value(result);
}

constexpr std::pair<std::string_view, Function::Body> kGlobals[] = {
    {"cycler", cycler},
    {"dict", dict},
    {"joiner", joiner},
    {"namespace", make_namespace},
    {"raise_exception", raise_exception},
    {"range", range},
    {"strftime_now", strftime_now},
};

}  // namespace

Eval<Value> find_global(Runtime& runtime, std::string_view name) {
  const auto* found = std::find_if(std::begin(kGlobals), std::end(kGlobals),
                                   [&](const auto& row) { return row.first == name; });
  if (found == std::end(kGlobals)) return Value();
  QUERN_TRY(Function * function, runtime.object<Function>(found->second));
  return Value(function);
}

}  // namespace quern::engine::jinja
