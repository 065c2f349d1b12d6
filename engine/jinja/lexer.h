// Template source to tokens, with Jinja's white-space control (trim_blocks and lstrip_blocks on).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/jinja/value.h"

namespace quern::engine::jinja {

enum class TokenKind : uint8_t {
  kText,         // literal text of the template
  kOutputBegin,  // {{
  kOutputEnd,    // }}
  kBlockBegin,   // {%
  kBlockEnd,     // %}
  kName,
  kString,  // text: escapes resolved
  kInteger,
  kFloat,
  kSymbol,  // text: an operator or bracket
  kEnd,     // of the source
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  std::string text;
  uint32_t line = 1;
};

// Comments and raw blocks are resolved; empty texts are left out; the last token is kEnd. Line ends
// become \n, and one at the end of the source is dropped. Errors: "template-syntax".
Eval<std::vector<Token>> tokenize(std::string_view source);

}  // namespace quern::engine::jinja
