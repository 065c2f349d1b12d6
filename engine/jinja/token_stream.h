// What both halves of the parser share: the tokens, and how deep it is in them.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/jinja/lexer.h"

namespace quern::engine::jinja {

class TokenStream {
 public:
  explicit TokenStream(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  const Token& current() const { return tokens_[at_]; }
  const Token& ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  uint32_t line() const { return current().line; }
  bool at(TokenKind kind) const { return current().kind == kind; }
  bool at_symbol(std::string_view symbol) const {
    return at(TokenKind::kSymbol) && current().text == symbol;
  }
  bool at_name(std::string_view name) const {
    return at(TokenKind::kName) && current().text == name;
  }

  std::string next() {
    std::string text = std::move(tokens_[at_].text);
    if (at_ + 1 < tokens_.size()) ++at_;
    return text;
  }
  bool skip_symbol(std::string_view symbol) {
    if (!at_symbol(symbol)) return false;
    next();
    return true;
  }
  bool skip_name(std::string_view name) {
    if (!at_name(name)) return false;
    next();
    return true;
  }

  Eval<void> expect(TokenKind kind, std::string_view what) {
    if (!at(kind)) return unexpected(what);
    next();
    return {};
  }
  Eval<void> expect_symbol(std::string_view symbol) {
    if (!skip_symbol(symbol)) return unexpected(symbol);
    return {};
  }
  Eval<std::string> expect_name() {
    if (!at(TokenKind::kName)) return unexpected("a name");
    return next();
  }

  // The error that something else was expected here.
  tl::unexpected<std::unique_ptr<Failure>> unexpected(std::string_view expected) const {
    const std::string found =
        at(TokenKind::kEnd) ? "the end of the template" : escape(current().text);
    return error("expected " + std::string(expected) + ", found " + found);
  }
  tl::unexpected<std::unique_ptr<Failure>> error(std::string message) const {
    auto result = failure("template-syntax", std::move(message));
    result.value()->line = line();
    return result;
  }

  // Counts open brackets and blocks while it lives: the parser is recursive.
  class Nesting {
   public:
    explicit Nesting(TokenStream& tokens) : tokens_(tokens) { ++tokens_.depth_; }
    ~Nesting() { --tokens_.depth_; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;
    Eval<void> check() const {
      if (tokens_.depth_ <= kMaxDepth) return {};
      auto result = failure("template-limit", "nests deeper than " + std::to_string(kMaxDepth) +
                                                  " brackets and blocks");
      result.value()->line = tokens_.line();
      return result;
    }

   private:
    static constexpr uint32_t kMaxDepth = 200;
    TokenStream& tokens_;
  };

 private:
  std::vector<Token> tokens_;  // the last is kEnd
  size_t at_ = 0;
  uint32_t depth_ = 0;
};

}  // namespace quern::engine::jinja
