// The statements of a template.
#include "engine/jinja/parser.h"

#include "engine/jinja/expression_parser.h"

namespace quern::engine::jinja {
namespace {

class StatementParser {
 public:
  explicit StatementParser(std::vector<Token> tokens)
      : tokens_(std::move(tokens)), expressions_(tokens_) {}

  Eval<Block> run() {
    QUERN_TRY(Block block, this->block({}));
    if (!tokens_.at(TokenKind::kEnd)) return tokens_.unexpected("a statement");
    return block;
  }

 private:
  // Statements up to a tag that begins with one of `ends`, or to the end of the source. That tag's
  // {% is consumed, its name is not.
  Eval<Block> block(std::initializer_list<std::string_view> ends) {
    const TokenStream::Nesting nesting(tokens_);
    QUERN_CHECK(nesting.check());
    Block block;
    while (!tokens_.at(TokenKind::kEnd)) {
      const uint32_t line = tokens_.line();
      if (tokens_.at(TokenKind::kText)) {
        block.push_back({line, Text{tokens_.next()}});
      } else if (tokens_.at(TokenKind::kOutputBegin)) {
        tokens_.next();
        QUERN_TRY(Node value, expressions_.tuple());
        QUERN_CHECK(tokens_.expect(TokenKind::kOutputEnd, "}}"));
        block.push_back({line, Output{std::move(value)}});
      } else {
        QUERN_CHECK(tokens_.expect(TokenKind::kBlockBegin, "{%"));
        for (const std::string_view end : ends) {
          if (tokens_.at_name(end)) return block;
        }
        QUERN_TRY(auto node, statement());
        block.push_back({line, std::move(node)});
      }
    }
    if (ends.size() > 0) return tokens_.unexpected("{% " + std::string(*(ends.end() - 1)) + " %}");
    return block;
  }

  using AnyStatement = decltype(Statement::node);

  Eval<AnyStatement> statement() {
    struct Keyword {
      std::string_view name;
      Eval<AnyStatement> (StatementParser::*parse)();
    };
    static constexpr Keyword kKeywords[] = {
        {"if", &StatementParser::if_statement},
        {"for", &StatementParser::for_statement},
        {"set", &StatementParser::set_statement},
        {"macro", &StatementParser::macro_statement},
        {"call", &StatementParser::call_statement},
        {"filter", &StatementParser::filter_statement},
        {"generation", &StatementParser::generation_statement},
        {"break", &StatementParser::break_statement},
        {"continue", &StatementParser::continue_statement},
    };
    for (const Keyword& keyword : kKeywords) {
      if (tokens_.skip_name(keyword.name)) return (this->*keyword.parse)();
    }
    return tokens_.unexpected("a statement");
  }

  Eval<void> end_tag() { return tokens_.expect(TokenKind::kBlockEnd, "%}"); }

  // A body and its end tag: `%}` ... `{% end %}`.
  Eval<Block> body(std::string_view end) {
    QUERN_CHECK(end_tag());
    QUERN_TRY(Block result, block({end}));
    tokens_.next();
    QUERN_CHECK(end_tag());
    return result;
  }

  Eval<AnyStatement> if_statement() {
    If result;
    QUERN_TRY(Node condition, expressions_.tuple());
    while (true) {
      QUERN_CHECK(end_tag());
      QUERN_TRY(Block block, this->block({"elif", "else", "endif"}));
      result.branches.push_back({std::move(condition), std::move(block)});
      if (tokens_.skip_name("elif")) {
        QUERN_TRY(condition, expressions_.tuple());
        continue;
      }
      if (tokens_.skip_name("else")) {
        QUERN_TRY(Block otherwise, body("endif"));
        result.branches.push_back({nullptr, std::move(otherwise)});
        return result;
      }
      tokens_.next();
      QUERN_CHECK(end_tag());
      return result;
    }
  }

  Eval<AnyStatement> for_statement() {
    For result;
    QUERN_TRY(result.target, target());
    if (!result.target.attribute.empty()) return tokens_.unexpected("in");
    if (!tokens_.skip_name("in")) return tokens_.unexpected("in");
    QUERN_TRY(result.sequence, expressions_.tuple(false));
    if (tokens_.skip_name("if")) {
      QUERN_TRY(result.condition, expressions_.expression());
    }
    QUERN_CHECK(end_tag());
    ++loops_;
    QUERN_TRY(result.body, block({"else", "endfor"}));
    --loops_;
    if (tokens_.skip_name("else")) {
      QUERN_TRY(result.otherwise, body("endfor"));
      return result;
    }
    tokens_.next();
    QUERN_CHECK(end_tag());
    return result;
  }

  // name | name.attribute | a, b | (a, b)
  Eval<Target> target() {
    Target result;
    const bool bracket = tokens_.skip_symbol("(");
    QUERN_TRY(std::string first, tokens_.expect_name());
    result.names.push_back(std::move(first));
    if (!bracket && tokens_.skip_symbol(".")) {
      QUERN_TRY(result.attribute, tokens_.expect_name());
      return result;
    }
    while (tokens_.skip_symbol(",")) {
      result.unpack = true;
      if (!tokens_.at(TokenKind::kName) || tokens_.at_name("in")) break;
      result.names.push_back(tokens_.next());
    }
    if (bracket) QUERN_CHECK(tokens_.expect_symbol(")"));
    return result;
  }

  Eval<AnyStatement> set_statement() {
    QUERN_TRY(Target target, this->target());
    if (tokens_.skip_symbol("=")) {
      QUERN_TRY(Node value, expressions_.tuple());
      QUERN_CHECK(end_tag());
      return Set{std::move(target), std::move(value)};
    }
    if (target.unpack) return tokens_.unexpected("=");
    SetBlock result{std::move(target), nullptr, {}};
    if (tokens_.skip_symbol("|")) {
      QUERN_TRY(result.filter, expressions_.filter_chain());
    }
    QUERN_TRY(result.body, body("endset"));
    return result;
  }

  Eval<std::vector<Parameter>> parameters() {
    std::vector<Parameter> result;
    QUERN_CHECK(tokens_.expect_symbol("("));
    while (!tokens_.at_symbol(")")) {
      QUERN_TRY(std::string name, tokens_.expect_name());
      Node fallback;
      if (tokens_.skip_symbol("=")) {
        QUERN_TRY(fallback, expressions_.expression());
      }
      result.push_back({std::move(name), std::move(fallback)});
      if (!tokens_.skip_symbol(",")) break;
    }
    QUERN_CHECK(tokens_.expect_symbol(")"));
    return result;
  }

  // A macro's body: its loops are its own.
  Eval<Block> macro_body(std::string_view end) {
    const uint32_t outer = std::exchange(loops_, 0);
    QUERN_TRY(Block result, body(end));
    loops_ = outer;
    return result;
  }

  Eval<AnyStatement> macro_statement() {
    Macro result;
    QUERN_TRY(result.name, tokens_.expect_name());
    QUERN_TRY(result.parameters, parameters());
    QUERN_TRY(result.body, macro_body("endmacro"));
    return result;
  }

  Eval<AnyStatement> call_statement() {
    CallBlock result;
    result.caller.name = "caller";
    if (tokens_.at_symbol("(")) {
      QUERN_TRY(result.caller.parameters, parameters());
    }
    QUERN_TRY(result.call, expressions_.expression());
    if (!std::holds_alternative<Call>(result.call->node)) return tokens_.unexpected("a call");
    QUERN_TRY(result.caller.body, macro_body("endcall"));
    return result;
  }

  Eval<AnyStatement> filter_statement() {
    FilterBlock result;
    QUERN_TRY(result.filter, expressions_.filter_chain());
    QUERN_TRY(result.body, body("endfilter"));
    return result;
  }

  Eval<AnyStatement> generation_statement() {
    QUERN_TRY(Block result, body("endgeneration"));
    return Group{std::move(result)};
  }

  Eval<AnyStatement> break_statement() {
    if (loops_ == 0) return tokens_.error("break outside of a loop");
    QUERN_CHECK(end_tag());
    return Break{};
  }

  Eval<AnyStatement> continue_statement() {
    if (loops_ == 0) return tokens_.error("continue outside of a loop");
    QUERN_CHECK(end_tag());
    return Continue{};
  }

  TokenStream tokens_;
  ExpressionParser expressions_;
  uint32_t loops_ = 0;  // around the current statement, within its macro
};

}  // namespace

Eval<Block> parse(std::string_view source) {
  QUERN_TRY(std::vector<Token> tokens, tokenize(source));
  return StatementParser(std::move(tokens)).run();
}

}  // namespace quern::engine::jinja
