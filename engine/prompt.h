// Prompt: what a model gets to see of a conversation, as text and as token ids.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/tokenizer/tokenizer.h"

namespace quern::engine {

// One message of a conversation.
struct Message {
  std::string role;  // "system", "user" or "assistant"
  std::string content;
};

struct Prompt {
  std::string text;  // as rendered; the tokenizer may add a begin token
  std::vector<int32_t> ids;
};

// Text as it is. `special`: texts of control tokens become those tokens.
Prompt raw_prompt(const Tokenizer& tokenizer, std::string text, bool special);

}  // namespace quern::engine
