// The tree of a parsed template. Immutable; a rendering only reads it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "engine/jinja/operators.h"

namespace quern::engine::jinja {

struct Expression;
struct Statement;
using Node = std::unique_ptr<Expression>;
using Block = std::vector<Statement>;

struct ArgumentList {
  std::vector<Node> positional;
  std::vector<std::pair<std::string, Node>> named;
};

struct Literal {
  std::variant<std::monostate, bool, int64_t, double, std::string> value;  // monostate: none
};
struct Name {
  std::string name;
};
struct ListLiteral {
  std::vector<Node> items;
  bool is_tuple = false;
};
struct DictLiteral {
  std::vector<std::pair<Node, Node>> entries;
};
struct Not {
  Node operand;
};
struct Negate {
  Node operand;  // a unary plus leaves no node
};
struct Binary {
  BinaryOperator op;
  Node left, right;
};
struct Concatenate {  // a ~ b ~ c
  std::vector<Node> parts;
};
struct Logical {  // a and b and c, or with `or`: the value of the operand that decides
  bool is_and;
  std::vector<Node> operands;
};
struct Compare {  // a < b <= c
  Node first;
  std::vector<std::pair<Comparison, Node>> rest;
};
struct Conditional {  // value if condition else otherwise
  Node value, condition;
  Node otherwise;  // may be null: undefined
};
struct Attribute {
  Node object;
  std::string name;
};
struct Subscript {
  Node object, index;
};
struct Slice {
  Node object;
  Node start, stop, step;  // may be null
};
struct Call {
  Node callee;
  ArgumentList arguments;
};
struct Filter {
  Node subject;  // null in a filter block: its text
  std::string name;
  ArgumentList arguments;
};
struct Test {
  Node subject;
  std::string name;
  ArgumentList arguments;
};

struct Expression {
  uint32_t line = 0;
  uint32_t height = 1;  // nodes on the longest way down; bounded by the parser
  std::variant<Literal, Name, ListLiteral, DictLiteral, Not, Negate, Binary, Concatenate, Logical,
               Compare, Conditional, Attribute, Subscript, Slice, Call, Filter, Test>
      node;
};

struct Text {
  std::string text;
};
struct Output {
  Node value;
};
struct If {
  struct Branch {
    Node condition;  // null: else
    Block body;
  };
  std::vector<Branch> branches;
};
// What `set` and `for` assign to: one name or several, or one attribute of a namespace.
struct Target {
  std::vector<std::string> names;
  bool unpack = false;    // names come from the items of the value
  std::string attribute;  // not empty: names[0].attribute
};
struct For {
  Target target;
  Node sequence;
  Node condition;  // may be null
  Block body, otherwise;
};
struct Set {
  Target target;
  Node value;
};
struct SetBlock {
  Target target;
  Node filter;  // may be null: chain of filters on the text
  Block body;
};
struct Parameter {
  std::string name;
  Node fallback;  // may be null: undefined
};
struct Macro {
  std::string name;
  std::vector<Parameter> parameters;
  Block body;
};
struct CallBlock {  // {% call(parameters) macro(...) %}body{% endcall %}
  Macro caller;
  Node call;  // a Call
};
struct FilterBlock {
  Node filter;  // chain of filters on the text
  Block body;
};
struct Group {  // {% generation %}: a body without a scope of its own
  Block body;
};
struct Break {};
struct Continue {};

struct Statement {
  uint32_t line = 0;
  std::variant<Text, Output, If, For, Set, SetBlock, Macro, CallBlock, FilterBlock, Group, Break,
               Continue>
      node;
};

}  // namespace quern::engine::jinja
