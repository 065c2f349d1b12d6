// ChatTemplate: a conversation as the text that a model was trained to continue.
#pragma once

#include <ctime>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/jinja/template.h"
#include "engine/tokenizer/tokenizer.h"
#include "gguf/file.h"

namespace quern::engine {

struct Message {
  std::string role;  // "system", "user", "assistant" or "tool"
  std::string content;
  // Further members as templates know them: tool_calls, tool_call_id, name, reasoning_content, …
  nlohmann::ordered_json extra = {};
};

struct ChatOptions {
  bool add_generation_prompt = true;         // end where the assistant's answer begins
  nlohmann::ordered_json tools = {};         // list of tool descriptions; null: none
  std::optional<bool> enable_thinking = {};  // for models that can be told
  nlohmann::ordered_json variables = {};     // further variables by name; null: none
  std::optional<std::tm> now = {};           // what templates take for the present time
};

class ChatTemplate {
 public:
  // The template of the file; ChatML with a warning if it has none.
  // Errors: "template-key", "template-syntax", "template-limit".
  static Result<ChatTemplate> from_file(const gguf::File& file, const Tokenizer& tokenizer);

  // Errors: those of jinja::Template::render.
  Result<std::string> render(std::span<const Message> messages,
                             const ChatOptions& options = {}) const;

  // Whether system messages reach the model, as they are or merged into the first user message.
  bool uses_system() const { return system_ != System::kIgnored; }

  std::span<const std::string> warnings() const { return warnings_; }  // one sentence each

 private:
  // What the template does with a system message: nothing special, drops it, or refuses it.
  enum class System { kUsed, kIgnored, kRefused };

  static Result<ChatTemplate> read(const gguf::File& file, const Tokenizer& tokenizer);
  ChatTemplate(jinja::Template main, std::optional<jinja::Template> tool_use,
               const Tokenizer& tokenizer);
  System probe_system() const;
  Result<std::string> render_with(const jinja::Template& chosen, std::span<const Message> messages,
                                  const ChatOptions& options) const;

  jinja::Template main_;
  std::optional<jinja::Template> tool_use_;  // preferred when there are tools
  // bos_token, eos_token, …
  std::vector<std::pair<std::string_view, std::string>> special_texts_;
  System system_ = System::kUsed;
  std::vector<std::string> warnings_;
};

}  // namespace quern::engine
