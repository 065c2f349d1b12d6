// Precedence, lowest first: if-else, or, and, not, comparisons, + -, ~, * / // %, **, unary - +,
// filters and tests, postfix. Filters and tests bind tighter than any operator.
#include "engine/jinja/expression_parser.h"

#include <charconv>

#include "engine/jinja/text.h"

namespace quern::engine::jinja {
namespace {

// A chain such as a + b + c + ... is as high as it is long, and evaluation is recursive.
constexpr uint32_t kMaxHeight = 500;

uint32_t height(const Node& node) { return node ? node->height : 0; }

uint32_t height(const std::vector<Node>& nodes) {
  uint32_t result = 0;
  for (const Node& node : nodes) result = std::max(result, height(node));
  return result;
}

uint32_t height(const ArgumentList& arguments) {
  uint32_t result = height(arguments.positional);
  for (const auto& [name, node] : arguments.named) result = std::max(result, height(node));
  return result;
}

// Of the children of a node.
struct HeightBelow {
  uint32_t operator()(const Literal&) const { return 0; }
  uint32_t operator()(const Name&) const { return 0; }
  uint32_t operator()(const ListLiteral& n) const { return height(n.items); }
  uint32_t operator()(const DictLiteral& n) const {
    uint32_t result = 0;
    for (const auto& [key, value] : n.entries) {
      result = std::max({result, height(key), height(value)});
    }
    return result;
  }
  uint32_t operator()(const Not& n) const { return height(n.operand); }
  uint32_t operator()(const Negate& n) const { return height(n.operand); }
  uint32_t operator()(const Binary& n) const { return std::max(height(n.left), height(n.right)); }
  uint32_t operator()(const Concatenate& n) const { return height(n.parts); }
  uint32_t operator()(const Logical& n) const { return height(n.operands); }
  uint32_t operator()(const Compare& n) const {
    uint32_t result = height(n.first);
    for (const auto& [op, node] : n.rest) result = std::max(result, height(node));
    return result;
  }
  uint32_t operator()(const Conditional& n) const {
    return std::max({height(n.value), height(n.condition), height(n.otherwise)});
  }
  uint32_t operator()(const Attribute& n) const { return height(n.object); }
  uint32_t operator()(const Subscript& n) const {
    return std::max(height(n.object), height(n.index));
  }
  uint32_t operator()(const Slice& n) const {
    return std::max({height(n.object), height(n.start), height(n.stop), height(n.step)});
  }
  uint32_t operator()(const Call& n) const {
    return std::max(height(n.callee), height(n.arguments));
  }
  uint32_t operator()(const Filter& n) const {
    return std::max(height(n.subject), height(n.arguments));
  }
  uint32_t operator()(const Test& n) const {
    return std::max(height(n.subject), height(n.arguments));
  }
};

struct ArithmeticOperator {
  std::string_view symbol;
  BinaryOperator op;
  int precedence;
};
// ~ stands between + and *: precedence 1.
constexpr int kConcatenation = 1;
constexpr ArithmeticOperator kArithmetic[] = {
    {"+", BinaryOperator::kAdd, 0},      {"-", BinaryOperator::kSubtract, 0},
    {"*", BinaryOperator::kMultiply, 2}, {"/", BinaryOperator::kDivide, 2},
    {"%", BinaryOperator::kModulo, 2},   {"//", BinaryOperator::kFloorDivide, 2},
    {"**", BinaryOperator::kPower, 3},
};

const ArithmeticOperator* find_arithmetic(const Token& token) {
  if (token.kind != TokenKind::kSymbol) return nullptr;
  const auto* found = std::find_if(std::begin(kArithmetic), std::end(kArithmetic),
                                   [&](const auto& row) { return row.symbol == token.text; });
  return found == std::end(kArithmetic) ? nullptr : found;
}

std::optional<Comparison> find_comparison(const Token& token) {
  constexpr std::pair<std::string_view, Comparison> kSymbols[] = {
      {"==", Comparison::kEqual},  {"!=", Comparison::kNotEqual},
      {"<", Comparison::kLess},    {"<=", Comparison::kLessEqual},
      {">", Comparison::kGreater}, {">=", Comparison::kGreaterEqual},
  };
  if (token.kind != TokenKind::kSymbol) return std::nullopt;
  for (const auto& [symbol, op] : kSymbols) {
    if (symbol == token.text) return op;
  }
  return std::nullopt;
}

}  // namespace

template <typename T>
Eval<Node> ExpressionParser::make(uint32_t line, T node) {
  auto expression = std::make_unique<Expression>();
  expression->line = line;
  expression->height = 1 + HeightBelow()(node);
  expression->node = std::move(node);
  if (expression->height <= kMaxHeight) return expression;
  auto result = failure("template-limit", "an expression has more than " +
                                              std::to_string(kMaxHeight) + " operators in a row");
  result.value()->line = line;
  return result;
}

Eval<Node> ExpressionParser::tuple(bool allow_if) {
  const uint32_t line = tokens_.line();
  const auto item = [&] { return allow_if ? expression() : disjunction(); };
  QUERN_TRY(Node first, item());
  if (!tokens_.at_symbol(",")) return first;
  ListLiteral list{.items = {}, .is_tuple = true};
  list.items.push_back(std::move(first));
  while (tokens_.skip_symbol(",")) {
    const bool ends = tokens_.at(TokenKind::kOutputEnd) || tokens_.at(TokenKind::kBlockEnd) ||
                      tokens_.at_symbol(")") || tokens_.at_symbol("]");
    if (ends) break;
    QUERN_TRY(Node next, item());
    list.items.push_back(std::move(next));
  }
  return make(line, std::move(list));
}

Eval<Node> ExpressionParser::expression() {
  const TokenStream::Nesting nesting(tokens_);
  QUERN_CHECK(nesting.check());
  const uint32_t line = tokens_.line();
  QUERN_TRY(Node value, disjunction());
  while (tokens_.skip_name("if")) {
    QUERN_TRY(Node condition, disjunction());
    Node otherwise;
    if (tokens_.skip_name("else")) {
      QUERN_TRY(otherwise, expression());
    }
    QUERN_TRY(value, make(line, Conditional{std::move(value), std::move(condition),
                                            std::move(otherwise)}));
  }
  return value;
}

Eval<Node> ExpressionParser::disjunction() {
  const uint32_t line = tokens_.line();
  QUERN_TRY(Node first, conjunction());
  if (!tokens_.at_name("or")) return first;
  Logical result{.is_and = false, .operands = {}};
  result.operands.push_back(std::move(first));
  while (tokens_.skip_name("or")) {
    QUERN_TRY(Node next, conjunction());
    result.operands.push_back(std::move(next));
  }
  return make(line, std::move(result));
}

Eval<Node> ExpressionParser::conjunction() {
  const uint32_t line = tokens_.line();
  QUERN_TRY(Node first, negation());
  if (!tokens_.at_name("and")) return first;
  Logical result{.is_and = true, .operands = {}};
  result.operands.push_back(std::move(first));
  while (tokens_.skip_name("and")) {
    QUERN_TRY(Node next, negation());
    result.operands.push_back(std::move(next));
  }
  return make(line, std::move(result));
}

Eval<Node> ExpressionParser::negation() {
  const uint32_t line = tokens_.line();
  if (!tokens_.at_name("not")) return comparison();
  const TokenStream::Nesting nesting(tokens_);
  QUERN_CHECK(nesting.check());
  tokens_.next();
  QUERN_TRY(Node operand, negation());
  return make(line, Not{std::move(operand)});
}

Eval<Node> ExpressionParser::comparison() {
  const uint32_t line = tokens_.line();
  QUERN_TRY(Node first, arithmetic(0));
  Compare result{std::move(first), {}};
  while (true) {
    auto op = find_comparison(tokens_.current());
    if (op) {
      tokens_.next();
    } else if (tokens_.skip_name("in")) {
      op = Comparison::kIn;
    } else if (tokens_.at_name("not") && tokens_.ahead().kind == TokenKind::kName &&
               tokens_.ahead().text == "in") {
      tokens_.next();
      tokens_.next();
      op = Comparison::kNotIn;
    } else {
      break;
    }
    QUERN_TRY(Node right, arithmetic(0));
    result.rest.emplace_back(*op, std::move(right));
  }
  if (result.rest.empty()) return std::move(result.first);
  return make(line, std::move(result));
}

// Precedence climbing: operators of at least `least_precedence`, all left-associative.
Eval<Node> ExpressionParser::arithmetic(int least_precedence) {
  const uint32_t line = tokens_.line();
  QUERN_TRY(Node left, unary(true));
  while (true) {
    if (least_precedence <= kConcatenation && tokens_.at_symbol("~")) {
      Concatenate chain;
      chain.parts.push_back(std::move(left));
      while (tokens_.skip_symbol("~")) {
        QUERN_TRY(Node part, arithmetic(kConcatenation + 1));
        chain.parts.push_back(std::move(part));
      }
      QUERN_TRY(left, make(line, std::move(chain)));
      continue;
    }
    const ArithmeticOperator* found = find_arithmetic(tokens_.current());
    if (!found || found->precedence < least_precedence) return left;
    tokens_.next();
    QUERN_TRY(Node right, arithmetic(found->precedence + 1));
    QUERN_TRY(left, make(line, Binary{found->op, std::move(left), std::move(right)}));
  }
}

Eval<Node> ExpressionParser::unary(bool with_filters) {
  const uint32_t line = tokens_.line();
  Node node;
  if (tokens_.at_symbol("-") || tokens_.at_symbol("+")) {
    const TokenStream::Nesting nesting(tokens_);
    QUERN_CHECK(nesting.check());
    const bool minus = tokens_.next() == "-";
    QUERN_TRY(node, unary(false));
    if (minus) {
      QUERN_TRY(node, make(line, Negate{std::move(node)}));
    }
  } else {
    QUERN_TRY(node, primary());
    QUERN_TRY(node, postfix(std::move(node)));
  }
  return with_filters ? filters(std::move(node)) : std::move(node);
}

Eval<Node> ExpressionParser::primary() {
  const uint32_t line = tokens_.line();
  if (tokens_.at_symbol("(")) return parenthesized();
  if (tokens_.at_symbol("[")) return list_literal();
  if (tokens_.at_symbol("{")) return dict_literal();
  switch (tokens_.current().kind) {
    case TokenKind::kString: {
      std::string text = tokens_.next();
      while (tokens_.at(TokenKind::kString)) text += tokens_.next();  // 'a' 'b' is 'ab'
      return make(line, Literal{std::move(text)});
    }
    case TokenKind::kInteger: {
      const auto value = parse_integer(tokens_.current().text, 10);
      if (!value) return tokens_.error("the integer is outside the range of 64 bits");
      tokens_.next();
      return make(line, Literal{*value});
    }
    case TokenKind::kFloat: {
      const auto value = parse_float(tokens_.current().text);
      if (!value) return tokens_.error("the number is outside the range of doubles");
      tokens_.next();
      return make(line, Literal{*value});
    }
    case TokenKind::kName: {
      std::string name = tokens_.next();
      if (name == "true" || name == "True") return make(line, Literal{true});
      if (name == "false" || name == "False") return make(line, Literal{false});
      if (name == "none" || name == "None") return make(line, Literal{});
      return make(line, Name{std::move(name)});
    }
    default:
      return tokens_.unexpected("an expression");
  }
}

Eval<Node> ExpressionParser::parenthesized() {
  const uint32_t line = tokens_.line();
  tokens_.next();
  if (tokens_.skip_symbol(")")) return make(line, ListLiteral{.items = {}, .is_tuple = true});
  QUERN_TRY(Node inner, tuple());
  QUERN_CHECK(tokens_.expect_symbol(")"));
  return inner;
}

Eval<Node> ExpressionParser::list_literal() {
  const uint32_t line = tokens_.line();
  tokens_.next();
  ListLiteral list;
  while (!tokens_.at_symbol("]")) {
    QUERN_TRY(Node item, expression());
    list.items.push_back(std::move(item));
    if (!tokens_.skip_symbol(",")) break;
  }
  QUERN_CHECK(tokens_.expect_symbol("]"));
  return make(line, std::move(list));
}

Eval<Node> ExpressionParser::dict_literal() {
  const uint32_t line = tokens_.line();
  tokens_.next();
  DictLiteral dict;
  while (!tokens_.at_symbol("}")) {
    QUERN_TRY(Node key, expression());
    QUERN_CHECK(tokens_.expect_symbol(":"));
    QUERN_TRY(Node value, expression());
    dict.entries.emplace_back(std::move(key), std::move(value));
    if (!tokens_.skip_symbol(",")) break;
  }
  QUERN_CHECK(tokens_.expect_symbol("}"));
  return make(line, std::move(dict));
}

Eval<Node> ExpressionParser::postfix(Node node) {
  while (true) {
    const uint32_t line = tokens_.line();
    if (tokens_.skip_symbol(".")) {
      if (tokens_.at(TokenKind::kInteger)) {
        QUERN_TRY(Node index, primary());
        QUERN_TRY(node, make(line, Subscript{std::move(node), std::move(index)}));
      } else {
        QUERN_TRY(std::string name, tokens_.expect_name());
        QUERN_TRY(node, make(line, Attribute{std::move(node), std::move(name)}));
      }
    } else if (tokens_.at_symbol("[")) {
      QUERN_TRY(node, subscript(std::move(node)));
    } else if (tokens_.at_symbol("(")) {
      QUERN_TRY(ArgumentList list, arguments());
      QUERN_TRY(node, make(line, Call{std::move(node), std::move(list)}));
    } else {
      return node;
    }
  }
}

Eval<Node> ExpressionParser::subscript(Node object) {
  const uint32_t line = tokens_.line();
  tokens_.next();
  std::array<Node, 3> parts;  // start, stop, step
  size_t colons = 0;
  while (!tokens_.at_symbol("]")) {
    if (tokens_.at_symbol(":")) {
      if (++colons == parts.size()) return tokens_.unexpected("]");
      tokens_.next();
    } else if (parts[colons]) {
      return tokens_.unexpected("]");
    } else if (colons == 0) {
      QUERN_TRY(parts[0], tuple());
    } else {
      QUERN_TRY(parts[colons], expression());
    }
  }
  tokens_.next();
  if (colons == 0 && !parts[0]) return tokens_.unexpected("an index");
  if (colons == 0) return make(line, Subscript{std::move(object), std::move(parts[0])});
  return make(line, Slice{std::move(object), std::move(parts[0]), std::move(parts[1]),
                          std::move(parts[2])});
}

Eval<Node> ExpressionParser::filters(Node node) {
  while (true) {
    const uint32_t line = tokens_.line();
    if (tokens_.skip_symbol("|")) {
      QUERN_TRY(node, filter(std::move(node)));
    } else if (tokens_.skip_name("is")) {
      QUERN_TRY(node, test(std::move(node)));
    } else if (tokens_.at_symbol("(")) {
      QUERN_TRY(ArgumentList list, arguments());
      QUERN_TRY(node, make(line, Call{std::move(node), std::move(list)}));
    } else {
      return node;
    }
  }
}

Eval<Node> ExpressionParser::filter(Node subject) {
  const uint32_t line = tokens_.line();
  QUERN_TRY(std::string name, tokens_.expect_name());
  ArgumentList list;
  if (tokens_.at_symbol("(")) {
    QUERN_TRY(list, arguments());
  }
  return make(line, Filter{std::move(subject), std::move(name), std::move(list)});
}

Eval<Node> ExpressionParser::filter_chain() {
  QUERN_TRY(Node node, filter(nullptr));
  while (tokens_.skip_symbol("|")) {
    QUERN_TRY(node, filter(std::move(node)));
  }
  return node;
}

Eval<Node> ExpressionParser::test(Node subject) {
  const uint32_t line = tokens_.line();
  const bool negated = tokens_.skip_name("not");
  QUERN_TRY(std::string name, tokens_.expect_name());
  ArgumentList list;
  const bool word_follows = tokens_.at_name("else") || tokens_.at_name("or") ||
                            tokens_.at_name("and") || tokens_.at_name("is") ||
                            tokens_.at_name("if") || tokens_.at_name("in") ||
                            tokens_.at_name("not") || tokens_.at_name("recursive");
  const bool value_follows = tokens_.at(TokenKind::kName) || tokens_.at(TokenKind::kString) ||
                             tokens_.at(TokenKind::kInteger) || tokens_.at(TokenKind::kFloat) ||
                             tokens_.at_symbol("[") || tokens_.at_symbol("{");
  if (tokens_.at_symbol("(")) {
    QUERN_TRY(list, arguments());
  } else if (value_follows && !word_follows) {  // x is divisibleby 3
    QUERN_TRY(Node argument, primary());
    QUERN_TRY(argument, postfix(std::move(argument)));
    list.positional.push_back(std::move(argument));
  }
  QUERN_TRY(Node result, make(line, Test{std::move(subject), std::move(name), std::move(list)}));
  if (!negated) return result;
  return make(line, Not{std::move(result)});
}

Eval<ArgumentList> ExpressionParser::arguments() {
  tokens_.next();
  ArgumentList list;
  while (!tokens_.at_symbol(")")) {
    const bool named = tokens_.at(TokenKind::kName) && tokens_.ahead().kind == TokenKind::kSymbol &&
                       tokens_.ahead().text == "=";
    if (named) {
      std::string name = tokens_.next();
      tokens_.next();
      QUERN_TRY(Node value, expression());
      list.named.emplace_back(std::move(name), std::move(value));
    } else if (!list.named.empty()) {
      return tokens_.unexpected("a named argument");
    } else {
      QUERN_TRY(Node value, expression());
      list.positional.push_back(std::move(value));
    }
    if (!tokens_.skip_symbol(",")) break;
  }
  QUERN_CHECK(tokens_.expect_symbol(")"));
  return list;
}

}  // namespace quern::engine::jinja
