#include "engine/prompt.h"

#include <utility>

namespace quern::engine {
Prompt raw_prompt(const Tokenizer& tokenizer, std::string text, bool special) {
  std::vector<int32_t> ids = tokenizer.encode(text, true, special);
  return {std::move(text), std::move(ids)};
}

}  // namespace quern::engine
