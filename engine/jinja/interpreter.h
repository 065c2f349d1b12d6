// Interpreter: evaluates the tree of a template, once.
#pragma once

#include <memory>
#include <string_view>

#include "engine/jinja/ast.h"
#include "engine/jinja/runtime.h"
#include "engine/jinja/scope.h"

namespace quern::engine::jinja {

class Interpreter {
 public:
  // `variables`: what the caller offers by name. All must outlive the interpreter.
  Interpreter(Runtime& runtime, const Dict& variables, TextBuilder& out);

  Eval<void> run(const Block& block);

  // What a macro prints for these arguments; `closure`: the scope in which it was defined.
  Eval<Value> call_macro(const Macro& macro, const std::shared_ptr<Scope>& closure,
                         const Arguments& arguments);

 private:
  enum class Flow { kNext, kBreak, kContinue };
  class InScope;
  class Capture;

  Eval<Flow> execute(const Block& block);
  Eval<Flow> execute(const Statement& statement);
  Eval<Flow> visit(const Text& node);
  Eval<Flow> visit(const Output& node);
  Eval<Flow> visit(const If& node);
  Eval<Flow> visit(const For& node);
  Eval<Flow> visit(const Set& node);
  Eval<Flow> visit(const SetBlock& node);
  Eval<Flow> visit(const Macro& node);
  Eval<Flow> visit(const CallBlock& node);
  Eval<Flow> visit(const FilterBlock& node);
  Eval<Flow> visit(const Group& node);
  Eval<Flow> visit(const Break&) { return Flow::kBreak; }
  Eval<Flow> visit(const Continue&) { return Flow::kContinue; }

  Eval<Value> evaluate(const Expression& expression);
  Eval<Value> evaluate_or_undefined(const Node& node);  // of a node that may be null
  Eval<Value> visit(const Literal& node);
  Eval<Value> visit(const Name& node);
  Eval<Value> visit(const ListLiteral& node);
  Eval<Value> visit(const DictLiteral& node);
  Eval<Value> visit(const Not& node);
  Eval<Value> visit(const Negate& node);
  Eval<Value> visit(const Binary& node);
  Eval<Value> visit(const Concatenate& node);
  Eval<Value> visit(const Logical& node);
  Eval<Value> visit(const Compare& node);
  Eval<Value> visit(const Conditional& node);
  Eval<Value> visit(const Attribute& node);
  Eval<Value> visit(const Subscript& node);
  Eval<Value> visit(const Slice& node);
  Eval<Value> visit(const Call& node);
  Eval<Value> visit(const Filter& node);
  Eval<Value> visit(const Test& node);

  Eval<Arguments> arguments(const ArgumentList& list);
  Eval<Value> call(const Call& node, Value caller);  // caller: of a call block, or undefined
  Eval<Value> filter_text(const Expression& chain, Value text);
  Eval<void> assign(const Target& target, const Value& value);
  Eval<std::vector<Value>> loop_items(const For& node);

  Runtime& runtime_;
  const Dict& variables_;
  TextBuilder* out_;
  std::shared_ptr<Scope> scope_;
  Value captured_;  // the text that the innermost filter of a filter block is applied to
};

}  // namespace quern::engine::jinja
