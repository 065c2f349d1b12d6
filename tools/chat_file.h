// A conversation as a JSON file, for /save and /load:
//   {"quern_conversation": 1, "system": "...",
//    "messages": [{"role": "user", "content": "..."}, ...],
//    "settings": {"ctx": 512, "n": 0, "temp": 0.8, ..., "logit_bias": ["42=-inf"]}}
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/prompt.h"
#include "engine/sampler/options.h"
#include "gguf/result.h"

namespace quern::tools {

struct Conversation {
  std::string system;                     // "" = none
  std::vector<engine::Message> messages;  // user and assistant
};

struct ChatSettings {
  uint32_t context = 0;  // positions
  size_t limit = 0;      // tokens per answer; 0 = until the model ends
  engine::SamplerOptions sampling;
};

struct SavedChat {
  Conversation conversation;
  ChatSettings settings;
};

// Writes a new file, or replaces one that is a saved chat; any other file is left alone (error
// "save-exists"). The file is complete or the old one: it is written beside and renamed.
Status save_chat(const std::string& path, const SavedChat& chat);

// Settings that the file does not mention keep the values of `defaults`. Errors: "load-open",
// "load-json" (not a saved chat), and those of set_option.
Result<SavedChat> load_chat(const std::string& path, const ChatSettings& defaults);

}  // namespace quern::tools
