// Prompt: what a model gets to see of a conversation, as text and as token ids.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/chat_template.h"
#include "engine/tokenizer/tokenizer.h"
#include "gguf/result.h"

namespace quern::engine {

struct Prompt {
  std::string text;  // as rendered; the tokenizer may add a begin token
  std::vector<int32_t> ids;
};

// The conversation in the model's chat template; with `for_answer` up to where the answer begins.
// Texts of control tokens in the messages stay text: only those that the template itself writes
// become control tokens. Errors: those of ChatTemplate::render.
Result<Prompt> chat_prompt(const ChatTemplate& chat_template, const Tokenizer& tokenizer,
                           std::span<const Message> messages, bool for_answer);

// Text as it is. `special`: texts of control tokens become those tokens.
Prompt raw_prompt(const Tokenizer& tokenizer, std::string text, bool special);

}  // namespace quern::engine
