// The expressions of a template, by recursive descent; one function per level of precedence.
#pragma once

#include "engine/jinja/ast.h"
#include "engine/jinja/token_stream.h"

namespace quern::engine::jinja {

class ExpressionParser {
 public:
  explicit ExpressionParser(TokenStream& tokens) : tokens_(tokens) {}

  // An expression, or several with commas between them: then a tuple. `allow_if`: a conditional may
  // come; not where `if` has another meaning, as after `for x in`.
  Eval<Node> tuple(bool allow_if = true);
  Eval<Node> expression();
  Eval<Node> postfix(Node node);     // what follows a primary: .name [index] (arguments)
  Eval<Node> filters(Node subject);  // | name ... and `is` tests
  Eval<Node> filter_chain();         // name | name ..., on the text of a block
  Eval<Node> primary();

 private:
  Eval<Node> disjunction();
  Eval<Node> conjunction();
  Eval<Node> negation();
  Eval<Node> comparison();
  Eval<Node> arithmetic(int least_precedence);
  Eval<Node> concatenation();
  Eval<Node> unary(bool with_filters);
  Eval<Node> parenthesized();
  Eval<Node> list_literal();
  Eval<Node> dict_literal();
  Eval<Node> subscript(Node object);
  Eval<Node> filter(Node subject);
  Eval<Node> test(Node subject);
  Eval<ArgumentList> arguments();
  template <typename T>
  Eval<Node> make(uint32_t line, T node);

  TokenStream& tokens_;
};

}  // namespace quern::engine::jinja
