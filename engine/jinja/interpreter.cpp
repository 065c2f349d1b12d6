// Expressions.
#include "engine/jinja/interpreter.h"

#include "engine/jinja/access.h"
#include "engine/jinja/globals.h"
#include "engine/jinja/print.h"

namespace quern::engine::jinja {

Eval<Value> Interpreter::evaluate(const Expression& expression) {
  const Runtime::Nesting nesting(runtime_);
  auto result = [&]() -> Eval<Value> {
    QUERN_CHECK(nesting.check());
    QUERN_CHECK(runtime_.spend(1));
    return std::visit([this](const auto& node) { return visit(node); }, expression.node);
  }();
  if (!result && result.error()->line == 0) result.error()->line = expression.line;
  return result;
}

Eval<Value> Interpreter::evaluate_or_undefined(const Node& node) {
  return node ? evaluate(*node) : Eval<Value>(Value());
}

Eval<Value> Interpreter::visit(const Literal& node) {
  if (const bool* boolean = std::get_if<bool>(&node.value)) return Value::boolean(*boolean);
  if (const int64_t* integer = std::get_if<int64_t>(&node.value)) return Value::integer(*integer);
  if (const double* real = std::get_if<double>(&node.value)) return Value::real(*real);
  if (const auto* text = std::get_if<std::string>(&node.value)) return Value::borrowed(*text);
  return Value::none();
}

Eval<Value> Interpreter::visit(const Name& node) {
  if (const Value* found = scope_->find(node.name)) return *found;
  if (const Value* found = variables_.find(node.name)) return *found;
  return find_global(runtime_, node.name);
}

Eval<Value> Interpreter::visit(const ListLiteral& node) {
  std::vector<Value> items;
  for (const Node& child : node.items) {
    QUERN_TRY(Value item, evaluate(*child));
    items.push_back(std::move(item));
  }
  return runtime_.list(std::move(items), node.is_tuple);
}

Eval<Value> Interpreter::visit(const DictLiteral& node) {
  QUERN_TRY(Value result, runtime_.dict());
  for (const auto& [key_node, value_node] : node.entries) {
    QUERN_TRY(const Value key, evaluate(*key_node));
    QUERN_TRY(Value value, evaluate(*value_node));
    QUERN_CHECK(runtime_.set(*result.as_dict(), key, std::move(value)));
  }
  return result;
}

Eval<Value> Interpreter::visit(const Not& node) {
  QUERN_TRY(const Value operand, evaluate(*node.operand));
  return Value::boolean(!operand.truthy());
}

Eval<Value> Interpreter::visit(const Negate& node) {
  QUERN_TRY(const Value operand, evaluate(*node.operand));
  return negate(operand);
}

Eval<Value> Interpreter::visit(const Binary& node) {
  QUERN_TRY(const Value left, evaluate(*node.left));
  QUERN_TRY(const Value right, evaluate(*node.right));
  return binary(runtime_, node.op, left, right);
}

Eval<Value> Interpreter::visit(const Concatenate& node) {
  TextBuilder out(runtime_);
  for (const Node& part : node.parts) {
    QUERN_TRY(const Value value, evaluate(*part));
    QUERN_CHECK(print(runtime_, value, out));
  }
  return out.finish();
}

Eval<Value> Interpreter::visit(const Logical& node) {
  Value value;
  for (const Node& operand : node.operands) {
    QUERN_TRY(value, evaluate(*operand));
    if (value.truthy() != node.is_and) break;
  }
  return value;
}

Eval<Value> Interpreter::visit(const Compare& node) {
  QUERN_TRY(Value left, evaluate(*node.first));
  for (const auto& [op, child] : node.rest) {
    QUERN_TRY(Value right, evaluate(*child));
    QUERN_TRY(const bool holds, compare(runtime_, op, left, right));
    if (!holds) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Eval<Value> Interpreter::visit(const Conditional& node) {
  QUERN_TRY(const Value condition, evaluate(*node.condition));
  return condition.truthy() ? evaluate(*node.value) : evaluate_or_undefined(node.otherwise);
}

Eval<Value> Interpreter::visit(const Attribute& node) {
  QUERN_TRY(const Value object, evaluate(*node.object));
  return attribute(runtime_, object, node.name);
}

Eval<Value> Interpreter::visit(const Subscript& node) {
  QUERN_TRY(const Value object, evaluate(*node.object));
  QUERN_TRY(const Value index, evaluate(*node.index));
  return subscript(runtime_, object, index);
}

Eval<Value> Interpreter::visit(const Slice& node) {
  QUERN_TRY(const Value object, evaluate(*node.object));
  QUERN_TRY(const Value start, evaluate_or_undefined(node.start));
  QUERN_TRY(const Value stop, evaluate_or_undefined(node.stop));
  QUERN_TRY(const Value step, evaluate_or_undefined(node.step));
  return slice(runtime_, object, start, stop, step);
}

Eval<Arguments> Interpreter::arguments(const ArgumentList& list) {
  Arguments result;
  for (const Node& node : list.positional) {
    QUERN_TRY(Value value, evaluate(*node));
    result.positional.push_back(std::move(value));
  }
  for (const auto& [name, node] : list.named) {
    QUERN_TRY(Value value, evaluate(*node));
    result.named.emplace_back(name, std::move(value));
  }
  return result;
}

Eval<Value> Interpreter::visit(const Call& node) { return call(node, Value()); }

Eval<Value> Interpreter::call(const Call& node, Value caller) {
  Value callee;
  if (const auto* member = std::get_if<Attribute>(&node.callee->node)) {
    // Directly, without an object for the bound method.
    QUERN_TRY(const Value self, evaluate(*member->object));
    if (const Method method = find_method(self, member->name)) {
      QUERN_CHECK(runtime_.spend_on(self));
      QUERN_TRY(const Arguments values, arguments(node.arguments));
      return method(runtime_, self, values);
    }
    QUERN_TRY(callee, attribute(runtime_, self, member->name));
    if (!callee.as_object()) {
      return value_failure("a " + std::string(self.type_name()) + " has no method " +
                           escape(member->name));
    }
  } else {
    QUERN_TRY(callee, evaluate(*node.callee));
  }
  Object* object = callee.as_object();
  if (!object) {
    const auto* name = std::get_if<Name>(&node.callee->node);
    const std::string what = name ? escape(name->name) + ", which is " : "what is ";
    return value_failure("cannot call " + what + std::string(callee.type_name()));
  }
  QUERN_TRY(Arguments values, arguments(node.arguments));
  if (!caller.is_undefined()) values.named.emplace_back("caller", std::move(caller));
  return object->call(runtime_, values);
}

Eval<Value> Interpreter::visit(const Filter& node) {
  QUERN_TRY(const Value subject, node.subject ? evaluate(*node.subject)
                                              : Eval<Value>(std::exchange(captured_, Value())));
  QUERN_TRY(const Arguments values, arguments(node.arguments));
  return call_filter(runtime_, node.name, subject, values);
}

Eval<Value> Interpreter::filter_text(const Expression& chain, Value text) {
  captured_ = std::move(text);
  return evaluate(chain);
}

Eval<Value> Interpreter::visit(const Test& node) {
  QUERN_TRY(const Value subject, evaluate(*node.subject));
  QUERN_TRY(const Arguments values, arguments(node.arguments));
  QUERN_TRY(const bool result, call_test(runtime_, node.name, subject, values));
  return Value::boolean(result);
}

}  // namespace quern::engine::jinja
