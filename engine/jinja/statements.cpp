// Statements, scopes and macros.
#include "engine/jinja/access.h"
#include "engine/jinja/interpreter.h"
#include "engine/jinja/loop.h"
#include "engine/jinja/print.h"

namespace quern::engine::jinja {
namespace {

class MacroObject : public Object {
 public:
  MacroObject(Interpreter& interpreter, const Macro& macro, std::shared_ptr<Scope> closure)
      : interpreter_(interpreter), macro_(macro), closure_(std::move(closure)) {}
  std::string_view type_name() const override { return "macro"; }
  bool callable() const override { return true; }
  Value attribute(std::string_view name) const override {
    return name == "name" ? Value::borrowed(macro_.name) : Value();
  }
  Eval<Value> call(Runtime&, const Arguments& arguments) override {
    return interpreter_.call_macro(macro_, closure_, arguments);
  }

 private:
  Interpreter& interpreter_;
  const Macro& macro_;
  std::shared_ptr<Scope> closure_;
};

}  // namespace

// A scope inside `outer` for as long as this lives.
class Interpreter::InScope {
 public:
  InScope(Interpreter& interpreter, const std::shared_ptr<Scope>& outer)
      : interpreter_(interpreter), saved_(interpreter.scope_) {
    interpreter_.scope_ = std::make_shared<Scope>(interpreter.runtime_, outer);
  }
  explicit InScope(Interpreter& interpreter) : InScope(interpreter, interpreter.scope_) {}
  ~InScope() { interpreter_.scope_ = std::move(saved_); }
  InScope(const InScope&) = delete;
  InScope& operator=(const InScope&) = delete;

 private:
  Interpreter& interpreter_;
  std::shared_ptr<Scope> saved_;
};

// What is printed while this lives becomes a value instead of output.
class Interpreter::Capture {
 public:
  explicit Capture(Interpreter& interpreter)
      : interpreter_(interpreter), text_(interpreter.runtime_), saved_(interpreter.out_) {
    interpreter_.out_ = &text_;
  }
  ~Capture() { interpreter_.out_ = saved_; }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;
  Eval<Value> finish() { return text_.finish(); }

 private:
  Interpreter& interpreter_;
  TextBuilder text_;
  TextBuilder* saved_;
};

Interpreter::Interpreter(Runtime& runtime, const Dict& variables, TextBuilder& out)
    : runtime_(runtime),
      variables_(variables),
      out_(&out),
      scope_(std::make_shared<Scope>(runtime, nullptr)) {}

Eval<void> Interpreter::run(const Block& block) {
  QUERN_CHECK(execute(block));
  return {};
}

Eval<Interpreter::Flow> Interpreter::execute(const Block& block) {
  for (const Statement& statement : block) {
    QUERN_TRY(const Flow flow, execute(statement));
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Eval<Interpreter::Flow> Interpreter::execute(const Statement& statement) {
  const Runtime::Nesting nesting(runtime_);
  auto result = [&]() -> Eval<Flow> {
    QUERN_CHECK(nesting.check());
    QUERN_CHECK(runtime_.spend(1));
    return std::visit([this](const auto& node) { return visit(node); }, statement.node);
  }();
  if (!result && result.error()->line == 0) result.error()->line = statement.line;
  return result;
}

Eval<Interpreter::Flow> Interpreter::visit(const Text& node) {
  QUERN_CHECK(out_->append(node.text));
  return Flow::kNext;
}

Eval<Interpreter::Flow> Interpreter::visit(const Output& node) {
  QUERN_TRY(const Value value, evaluate(*node.value));
  QUERN_CHECK(print(runtime_, value, *out_));
  return Flow::kNext;
}

Eval<Interpreter::Flow> Interpreter::visit(const If& node) {
  for (const auto& branch : node.branches) {
    bool taken = true;
    if (branch.condition) {
      QUERN_TRY(const Value condition, evaluate(*branch.condition));
      taken = condition.truthy();
    }
    if (taken) return execute(branch.body);
  }
  return Flow::kNext;
}

// The items of a loop, after its `if`.
Eval<std::vector<Value>> Interpreter::loop_items(const For& node) {
  QUERN_TRY(const Value sequence, evaluate(*node.sequence));
  QUERN_TRY(auto items, iterate(runtime_, sequence));
  if (!node.condition) return items;
  std::vector<Value> chosen;
  for (const Value& item : items) {
    const InScope scope(*this);
    QUERN_CHECK(assign(node.target, item));
    QUERN_TRY(const Value condition, evaluate(*node.condition));
    if (condition.truthy()) chosen.push_back(item);
  }
  return chosen;
}

Eval<Interpreter::Flow> Interpreter::visit(const For& node) {
  QUERN_TRY(auto items, loop_items(node));
  if (items.empty()) {
    const InScope scope(*this);
    return execute(node.otherwise);
  }
  Runtime::Scratch scratch(runtime_);
  QUERN_CHECK(scratch.take(items.size() * sizeof(Value)));
  QUERN_TRY(Loop * loop, runtime_.object<Loop>(std::move(items)));
  for (size_t i = 0; i < loop->size(); ++i) {
    const InScope scope(*this);
    loop->move_to(i);
    QUERN_CHECK(scope_->set("loop", Value(loop)));
    QUERN_CHECK(assign(node.target, loop->item(i)));
    QUERN_TRY(const Flow flow, execute(node.body));
    if (flow == Flow::kBreak) break;
  }
  loop->end();
  return Flow::kNext;
}

Eval<void> Interpreter::assign(const Target& target, const Value& value) {
  if (!target.attribute.empty()) {
    const Value* holder = scope_->find(target.names[0]);
    Object* object = holder ? holder->as_object() : nullptr;
    if (!object) return value_failure(escape(target.names[0]) + " is not a namespace");
    return object->assign(runtime_, target.attribute, value);
  }
  if (!target.unpack) return scope_->set(target.names[0], value);
  QUERN_TRY(const auto items, iterate(runtime_, value));
  if (items.size() != target.names.size()) {
    return value_failure("cannot unpack " + std::to_string(items.size()) + " items into " +
                         std::to_string(target.names.size()) + " names");
  }
  for (size_t i = 0; i < items.size(); ++i) QUERN_CHECK(scope_->set(target.names[i], items[i]));
  return {};
}

Eval<Interpreter::Flow> Interpreter::visit(const Set& node) {
  QUERN_TRY(const Value value, evaluate(*node.value));
  QUERN_CHECK(assign(node.target, value));
  return Flow::kNext;
}

Eval<Interpreter::Flow> Interpreter::visit(const SetBlock& node) {
  Value value;
  {
    Capture capture(*this);
    const InScope scope(*this);
    QUERN_TRY(const Flow flow, execute(node.body));
    if (flow != Flow::kNext) return flow;
    QUERN_TRY(value, capture.finish());
  }
  if (node.filter) {
    QUERN_TRY(value, filter_text(*node.filter, std::move(value)));
  }
  QUERN_CHECK(assign(node.target, value));
  return Flow::kNext;
}

Eval<Interpreter::Flow> Interpreter::visit(const FilterBlock& node) {
  Value value;
  {
    Capture capture(*this);
    const InScope scope(*this);
    QUERN_TRY(const Flow flow, execute(node.body));
    if (flow != Flow::kNext) return flow;
    QUERN_TRY(value, capture.finish());
  }
  QUERN_TRY(value, filter_text(*node.filter, std::move(value)));
  QUERN_CHECK(print(runtime_, value, *out_));
  return Flow::kNext;
}

Eval<Interpreter::Flow> Interpreter::visit(const Group& node) { return execute(node.body); }

Eval<Interpreter::Flow> Interpreter::visit(const Macro& node) {
  QUERN_TRY(MacroObject * macro, runtime_.object<MacroObject>(*this, node, scope_));
  QUERN_CHECK(scope_->set(node.name, Value(macro)));
  return Flow::kNext;
}

Eval<Interpreter::Flow> Interpreter::visit(const CallBlock& node) {
  QUERN_TRY(MacroObject * caller, runtime_.object<MacroObject>(*this, node.caller, scope_));
  QUERN_TRY(const Value value, call(std::get<Call>(node.call->node), Value(caller)));
  QUERN_CHECK(print(runtime_, value, *out_));
  return Flow::kNext;
}

Eval<Value> Interpreter::call_macro(const Macro& macro, const std::shared_ptr<Scope>& closure,
                                    const Arguments& arguments) {
  if (arguments.positional.size() > macro.parameters.size()) {
    return value_failure("macro " + escape(macro.name) + " takes at most " +
                         std::to_string(macro.parameters.size()) + " arguments");
  }
  Capture capture(*this);
  const InScope scope(*this, closure);
  for (const auto& [name, value] : arguments.named) {
    const auto is_parameter = [&](const Parameter& parameter) { return parameter.name == name; };
    if (name != "caller" &&
        std::none_of(macro.parameters.begin(), macro.parameters.end(), is_parameter)) {
      return value_failure("macro " + escape(macro.name) + " has no argument called " +
                           escape(name));
    }
    QUERN_CHECK(scope_->set(name, value));
  }
  for (size_t i = 0; i < macro.parameters.size(); ++i) {
    const auto& [name, fallback] = macro.parameters[i];
    const bool named = std::any_of(arguments.named.begin(), arguments.named.end(),
                                   [&](const auto& argument) { return argument.first == name; });
    if (i < arguments.positional.size()) {
      QUERN_CHECK(scope_->set(name, arguments.positional[i]));
    } else if (!named) {
      QUERN_TRY(Value value, evaluate_or_undefined(fallback));
      QUERN_CHECK(scope_->set(name, std::move(value)));
    }
  }
  QUERN_CHECK(execute(macro.body));
  return capture.finish();
}

}  // namespace quern::engine::jinja
