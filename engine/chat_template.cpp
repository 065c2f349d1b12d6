#include "engine/chat_template.h"

#include "gguf/exceptions.h"

namespace quern::engine {
namespace {

using nlohmann::ordered_json;

constexpr std::string_view kKey = "tokenizer.chat_template";
constexpr std::string_view kToolUseKey = "tokenizer.chat_template.tool_use";

// For files without a template.
constexpr std::string_view kChatMl =
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

Result<std::optional<jinja::Template>> read_template(const gguf::File& file, std::string_view key) {
  const gguf::Value* value = file.find(key);
  if (!value) return std::nullopt;
  Error error;
  if (const std::optional<std::string_view> source = value->as_string()) {
    Result<jinja::Template> parsed = jinja::Template::parse(*source);
    if (parsed) return std::optional<jinja::Template>(std::move(*parsed));
    error = std::move(parsed.error());
  } else {
    error = bad_input("template-key", "key " + escape(key) + " must be a string").value();
  }
  error.path = file.path();
  error.field = key;
  return tl::unexpected(std::move(error));
}

// Arguments of tool calls arrive as JSON text; templates expect objects.
void parse_arguments(ordered_json& tool_calls) {
  if (!tool_calls.is_array()) return;
  for (ordered_json& call : tool_calls) {
    if (!call.is_object() || !call.contains("function")) continue;
    ordered_json& function = call["function"];
    if (!function.is_object() || !function.contains("arguments")) continue;
    ordered_json& arguments = function["arguments"];
    if (!arguments.is_string()) continue;
    ordered_json parsed =
        ordered_json::parse(arguments.get_ref<const std::string&>(), nullptr, false);
    if (parsed.is_object()) arguments = std::move(parsed);
  }
}

ordered_json to_json(const Message& message) {
  ordered_json json = {{"role", message.role}, {"content", message.content}};
  if (message.extra.is_object()) json.update(message.extra);
  if (json.contains("tool_calls")) parse_arguments(json["tool_calls"]);
  return json;
}

// The system text in front of the first user message, for templates that refuse a system role.
std::vector<Message> merge_system(std::span<const Message> messages) {
  std::vector<Message> merged;
  std::string system;
  for (const Message& message : messages) {
    if (message.role == "system") {
      system += message.content + "\n\n";
      continue;
    }
    merged.push_back(message);
    if (message.role == "user" && !system.empty()) {
      merged.back().content = std::exchange(system, {}) + message.content;
    }
  }
  return merged;
}

ordered_json special_texts(const Tokenizer& tokenizer) {
  return {{"bos_token", tokenizer.special_text(Role::kBos)},
          {"eos_token", tokenizer.special_text(Role::kEos)},
          {"unk_token", tokenizer.special_text(Role::kUnknown)},
          {"pad_token", tokenizer.special_text(Role::kPadding)}};
}

}  // namespace

ChatTemplate::ChatTemplate(jinja::Template main, std::optional<jinja::Template> tool_use,
                           const Tokenizer& tokenizer)
    : main_(std::move(main)),
      tool_use_(std::move(tool_use)),
      special_texts_(special_texts(tokenizer)),
      system_(probe_system()) {}

Result<ChatTemplate> ChatTemplate::from_file(const gguf::File& file, const Tokenizer& tokenizer) {
  return catch_exceptions([&] { return read(file, tokenizer); });
}

Result<ChatTemplate> ChatTemplate::read(const gguf::File& file, const Tokenizer& tokenizer) {
  QUERN_TRY(std::optional<jinja::Template> main, read_template(file, kKey));
  QUERN_TRY(std::optional<jinja::Template> tool_use, read_template(file, kToolUseKey));
  const bool missing = !main;
  if (missing) {
    QUERN_TRY(main, jinja::Template::parse(kChatMl));
  }
  ChatTemplate result(std::move(*main), std::move(tool_use), tokenizer);
  if (missing) {
    result.warnings_.push_back(
        "the model has no chat template; ChatML is used, which it may not know");
  }
  return result;
}

ChatTemplate::System ChatTemplate::probe_system() const {
  constexpr std::string_view kMarker = "quern-system-marker";
  const Message probe[] = {{"system", std::string(kMarker)}, {"user", "hello"}};
  const Result<std::string> text = render_with(main_, probe, {});
  if (!text) return System::kRefused;
  return text->find(kMarker) == text->npos ? System::kIgnored : System::kUsed;
}

Result<std::string> ChatTemplate::render(std::span<const Message> messages,
                                         const ChatOptions& options) const {
  const bool with_tools = options.tools.is_array() && !options.tools.empty();
  const jinja::Template& chosen = with_tools && tool_use_ ? *tool_use_ : main_;
  if (system_ != System::kRefused) return render_with(chosen, messages, options);
  return render_with(chosen, merge_system(messages), options);
}

Result<std::string> ChatTemplate::render_with(const jinja::Template& chosen,
                                              std::span<const Message> messages,
                                              const ChatOptions& options) const {
  ordered_json variables = special_texts_;
  variables["messages"] = ordered_json::array();
  for (const Message& message : messages) variables["messages"].push_back(to_json(message));
  variables["add_generation_prompt"] = options.add_generation_prompt;
  // Absent tools stay undefined: templates test no more than that.
  if (options.tools.is_array() && !options.tools.empty()) variables["tools"] = options.tools;
  if (options.enable_thinking) variables["enable_thinking"] = *options.enable_thinking;
  if (options.variables.is_object()) variables.update(options.variables);
  return chosen.render(variables, {}, options.now);
}

}  // namespace quern::engine
