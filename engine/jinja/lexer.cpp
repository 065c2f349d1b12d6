// The lexer. Tags inside a string or between brackets do not end an expression, so `{{ {'a': {}}
// }}` works.
#include "engine/jinja/lexer.h"

#include <algorithm>
#include <charconv>

#include "engine/jinja/text.h"
#include "engine/utf8.h"

namespace quern::engine::jinja {
namespace {

std::string normalize_newlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t at = 0; at < source.size(); ++at) {
    if (source[at] != '\r') {
      out += source[at];
      continue;
    }
    out += '\n';
    if (at + 1 < source.size() && source[at + 1] == '\n') ++at;
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }
// Names may hold any letter; bytes past ASCII are all taken as letters.
bool starts_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<uint8_t>(c) >= 0x80;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {}

  Eval<std::vector<Token>> run() {
    while (at_ < source_.size()) {
      auto step = next_tag();
      if (!step) {
        if (step.error()->line == 0) step.error()->line = line_;
        return tl::unexpected(std::move(step.error()));
      }
    }
    push(TokenKind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  // Up to and including the next tag: text, then {{ ... }}, {% ... %} or {# ... #}.
  Eval<void> next_tag() {
    const size_t tag = find_tag(at_);
    if (tag == std::string_view::npos) {
      push_text(source_.substr(at_));
      return {};
    }
    push_text(text_before(tag));
    at_ = tag + 2;
    if (at('-') || at('+')) ++at_;
    switch (source_[tag + 1]) {
      case '#':
        return skip_comment();
      case '%':
        if (skip_word("raw")) return raw_block();
        push(TokenKind::kBlockBegin, "{%");
        return expression("%}", TokenKind::kBlockEnd);
      default:
        push(TokenKind::kOutputBegin, "{{");
        return expression("}}", TokenKind::kOutputEnd);
    }
  }

  size_t find_tag(size_t from) const {
    for (size_t at = source_.find('{', from); at != std::string_view::npos;
         at = source_.find('{', at + 1)) {
      const char next = at + 1 < source_.size() ? source_[at + 1] : '\0';
      if (next == '{' || next == '%' || next == '#') return at;
    }
    return std::string_view::npos;
  }

  // The text between the last tag and the one at `tag`, as white-space control leaves it.
  std::string_view text_before(size_t tag) const {
    const std::string_view text = source_.substr(at_, tag - at_);
    const char sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
    if (sign == '-') return strip(text, Side::kRight);
    if (sign == '+' || source_[tag + 1] == '{') return text;
    const size_t newline = text.rfind('\n');
    // Without a line end in the text, the line starts here only if the last tag ended one.
    if (newline == std::string_view::npos && at_ > 0 && source_[at_ - 1] != '\n') return text;
    const size_t line_start = newline == std::string_view::npos ? 0 : newline + 1;
    const bool blank = strip(text.substr(line_start), Side::kBoth).empty();
    return blank ? text.substr(0, line_start) : text;
  }

  // If a tag ends here: skips its end and the white space that goes with it.
  bool skip_tag_end(std::string_view end) {
    const std::string_view rest = source_.substr(at_);
    const bool block = end != "}}";
    if (rest.starts_with('-') && rest.substr(1).starts_with(end)) {
      const std::string_view after = rest.substr(3);
      advance(3 + after.size() - strip(after, Side::kLeft).size());
      return true;
    }
    if (block && rest.starts_with('+') && rest.substr(1).starts_with(end)) {
      advance(3);
      return true;
    }
    if (!rest.starts_with(end)) return false;
    advance(2);
    if (block && at('\n')) advance(1);
    return true;
  }

  Eval<void> skip_comment() {
    const uint32_t start = line_;
    while (at_ < source_.size()) {
      if (skip_tag_end("#}")) return {};
      advance(1);
    }
    line_ = start;
    return failure("template-syntax", "a comment is not closed");
  }

  // After `{% raw`: everything up to `{% endraw %}` is text.
  Eval<void> raw_block() {
    const uint32_t start = line_;
    skip_space();
    if (at('-')) {
      if (!skip_tag_end("%}")) return failure("template-syntax", "a raw tag takes no arguments");
    } else if (source_.substr(at_).starts_with("%}")) {
      advance(2);  // the line end after {% raw %} stays
    } else {
      return failure("template-syntax", "a raw tag takes no arguments");
    }
    for (size_t tag = source_.find("{%", at_); tag != std::string_view::npos;
         tag = source_.find("{%", tag + 2)) {
      const size_t text_start = at_;
      at_ = tag + 2;
      if (at('-') || at('+')) ++at_;
      if (skip_word("endraw")) {
        skip_space();
        if (skip_tag_end("%}")) {
          const size_t end = std::exchange(at_, text_start);
          line_ = start;
          push(TokenKind::kText, std::string(text_before(tag)));
          advance(end - at_);
          return {};
        }
      }
      at_ = text_start;
    }
    line_ = start;
    return failure("template-syntax", "a raw block is not closed");
  }

  // The tokens of one tag, up to its end.
  Eval<void> expression(std::string_view end, TokenKind end_kind) {
    const uint32_t start = line_;
    std::string open;  // brackets that are still to be closed
    while (true) {
      skip_space();
      if (at_ >= source_.size()) {
        line_ = start;
        return failure("template-syntax", "a tag is not closed");
      }
      if (open.empty() && skip_tag_end(end)) {
        push(end_kind, std::string(end));
        return {};
      }
      const char c = source_[at_];
      if (c == '\'' || c == '"') {
        QUERN_CHECK(string_literal());
      } else if (is_digit(c)) {
        number();
      } else if (starts_name(c)) {
        const size_t begin = at_;
        while (at_ < source_.size() && (starts_name(source_[at_]) || is_digit(source_[at_]))) ++at_;
        push(TokenKind::kName, std::string(source_.substr(begin, at_ - begin)));
      } else {
        QUERN_CHECK(symbol(open));
      }
    }
  }

  Eval<void> symbol(std::string& open) {
    constexpr std::string_view kSymbols[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                             "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                             ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};
    const std::string_view rest = source_.substr(at_);
    const auto* found = std::find_if(std::begin(kSymbols), std::end(kSymbols),
                                     [&](auto candidate) { return rest.starts_with(candidate); });
    if (found == std::end(kSymbols)) {
      return failure("template-syntax", "unexpected character " + escape(rest.substr(0, 1)));
    }
    const char c = rest[0];
    if (c == '(' || c == '[' || c == '{') open += c == '(' ? ')' : c == '[' ? ']' : '}';
    if (c == ')' || c == ']' || c == '}') {
      if (!open.ends_with(c)) {
        return failure("template-syntax", "unexpected " + escape(rest.substr(0, 1)));
      }
      open.pop_back();
    }
    push(TokenKind::kSymbol, std::string(*found));
    at_ += found->size();
    return {};
  }

  void number() {
    const size_t begin = at_;
    const auto digits = [&] {
      while (at_ < source_.size() && (is_digit(source_[at_]) || at('_'))) ++at_;
    };
    const auto digit_at = [&](size_t at) { return at < source_.size() && is_digit(source_[at]); };
    digits();
    bool is_float = false;
    if (at('.') && digit_at(at_ + 1)) {
      is_float = true;
      ++at_;
      digits();
    }
    if (at('e') || at('E')) {
      const size_t sign =
          at_ + 1 < source_.size() && (source_[at_ + 1] == '+' || source_[at_ + 1] == '-');
      if (digit_at(at_ + 1 + sign)) {
        is_float = true;
        at_ += 1 + sign;
        digits();
      }
    }
    std::string text(source_.substr(begin, at_ - begin));
    std::erase(text, '_');
    push(is_float ? TokenKind::kFloat : TokenKind::kInteger, std::move(text));
  }

  Eval<void> string_literal() {
    const uint32_t start = line_;
    const char quote = source_[at_];
    std::string text;
    for (advance(1); at_ < source_.size();) {
      const char c = source_[at_];
      if (c == quote) {
        ++at_;
        tokens_.push_back({TokenKind::kString, std::move(text), start});
        return {};
      }
      if (c == '\\' && at_ + 1 < source_.size()) {
        QUERN_CHECK(escape_sequence(text));
      } else {
        text += c;
        advance(1);
      }
    }
    line_ = start;
    return failure("template-syntax", "a string is not closed");
  }

  // A backslash and what follows it, as in Python.
  Eval<void> escape_sequence(std::string& text) {
    constexpr std::string_view kNames = "abfnrtv\\'\"";
    constexpr std::string_view kCharacters = "\a\b\f\n\r\t\v\\'\"";
    const char name = source_[at_ + 1];
    if (const size_t found = kNames.find(name); found != std::string_view::npos) {
      text += kCharacters[found];
      at_ += 2;
      return {};
    }
    if (name == '\n') {  // a line that is continued
      advance(2);
      return {};
    }
    const size_t digits = name == 'x' ? 2 : name == 'u' ? 4 : name == 'U' ? 8 : 0;
    if (digits > 0) return code_point(text, at_ + 2, digits, 16);
    if (name >= '0' && name <= '7') {
      size_t length = 1;
      while (length < 3 && at_ + 1 + length < source_.size() && source_[at_ + 1 + length] >= '0' &&
             source_[at_ + 1 + length] <= '7') {
        ++length;
      }
      return code_point(text, at_ + 1, length, 8);
    }
    text += '\\';
    at_ += 1;
    return {};
  }

  Eval<void> code_point(std::string& text, size_t begin, size_t digits, int base) {
    uint32_t code = 0;
    const std::string_view number = source_.substr(begin, digits);
    const char* end = number.data() + number.size();
    const auto [parsed, error] = std::from_chars(number.data(), end, code, base);
    const bool valid = error == std::errc() && parsed == end && number.size() == digits &&
                       code <= 0x10FFFF && (code < 0xD800 || code > 0xDFFF);
    if (!valid) return failure("template-syntax", "a string has an invalid \\ escape");
    utf8::append(text, code);
    at_ = begin + digits;
    return {};
  }

  bool at(char c) const { return at_ < source_.size() && source_[at_] == c; }

  void advance(size_t bytes) {
    for (; bytes > 0 && at_ < source_.size(); --bytes) line_ += source_[at_++] == '\n';
  }

  void skip_space() {
    while (at_ < source_.size()) {
      const auto character = utf8::decode(source_, at_);
      if (!character.valid || !is_space(character.code)) return;
      advance(character.length);
    }
  }

  // Skips white space and `word` if that comes next, as a whole word.
  bool skip_word(std::string_view word) {
    const size_t begin = at_;
    const uint32_t line = line_;
    skip_space();
    const std::string_view rest = source_.substr(at_);
    const bool found = rest.starts_with(word) &&
                       (rest.size() == word.size() ||
                        (!starts_name(rest[word.size()]) && !is_digit(rest[word.size()])));
    if (found) {
      at_ += word.size();
    } else {
      at_ = begin;
      line_ = line;
    }
    return found;
  }

  // Text up to the next tag; counts the lines that white-space control removed, too.
  void push_text(std::string_view text) {
    if (!text.empty()) push(TokenKind::kText, std::string(text));
    const size_t tag = std::min(find_tag(at_), source_.size());
    advance(tag - at_);
  }

  void push(TokenKind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }

  std::string_view source_;
  size_t at_ = 0;
  uint32_t line_ = 1;
  std::vector<Token> tokens_;
};

}  // namespace

Eval<std::vector<Token>> tokenize(std::string_view source) {
  const std::string normalized = normalize_newlines(source);
  return Lexer(normalized).run();
}

}  // namespace quern::engine::jinja
