#include "engine/chat_template.h"

#include "engine/jinja/json_text.h"
#include "gguf/exceptions.h"

namespace quern::engine {
namespace {

using jinja::Dict;
using jinja::Eval;
using jinja::Runtime;
using jinja::Value;
using SpecialTexts = std::vector<std::pair<std::string_view, std::string>>;

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

Eval<void> set_value(Runtime& runtime, Dict& dict, std::string_view name, Value value) {
  QUERN_TRY(const Value key, runtime.text(std::string(name)));
  return runtime.set(dict, key, std::move(value));
}

Eval<void> set_text(Runtime& runtime, Dict& dict, std::string_view name, std::string text) {
  QUERN_TRY(Value value, runtime.text(std::move(text)));
  return set_value(runtime, dict, name, std::move(value));
}

// Arguments of tool calls arrive as JSON text; templates expect objects.
Eval<void> parse_arguments(Runtime& runtime, Dict& message) {
  const Value* calls = message.find("tool_calls");
  if (!calls || !calls->as_list()) return {};
  for (const Value& call : calls->as_list()->items) {
    const Value* function = call.as_dict() ? call.as_dict()->find("function") : nullptr;
    if (!function || !function->as_dict()) continue;
    const Value* arguments = function->as_dict()->find("arguments");
    if (!arguments || !arguments->as_text()) continue;
    QUERN_TRY(Value parsed, jinja::parse_json(runtime, *arguments->as_text()));
    if (!parsed.as_dict()) continue;
    QUERN_CHECK(set_value(runtime, *function->as_dict(), "arguments", std::move(parsed)));
  }
  return {};
}

Eval<Value> message_value(Runtime& runtime, const Message& message) {
  QUERN_TRY(Value value, runtime.dict());
  Dict& dict = *value.as_dict();
  QUERN_CHECK(set_text(runtime, dict, "role", message.role));
  QUERN_CHECK(set_text(runtime, dict, "content", message.content));
  if (message.extra.is_object()) QUERN_CHECK(runtime.set_members(dict, message.extra));
  QUERN_CHECK(parse_arguments(runtime, dict));
  return value;
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

SpecialTexts special_texts(const Tokenizer& tokenizer) {
  return {{"bos_token", std::string(tokenizer.special_text(Role::kBos))},
          {"eos_token", std::string(tokenizer.special_text(Role::kEos))},
          {"unk_token", std::string(tokenizer.special_text(Role::kUnknown))},
          {"pad_token", std::string(tokenizer.special_text(Role::kPadding))}};
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
  const auto variables = [&](Runtime& runtime, Dict& names) -> Eval<void> {
    for (const auto& [name, text] : special_texts_) {
      QUERN_CHECK(set_text(runtime, names, name, text));
    }
    QUERN_TRY(const Value list, runtime.list({}));
    for (const Message& message : messages) {
      QUERN_TRY(Value value, message_value(runtime, message));
      QUERN_CHECK(runtime.append(*list.as_list(), std::move(value)));
    }
    QUERN_CHECK(set_value(runtime, names, "messages", list));
    const Value prompt = Value::boolean(options.add_generation_prompt);
    QUERN_CHECK(set_value(runtime, names, "add_generation_prompt", prompt));
    // Absent tools stay undefined: templates test no more than that.
    if (options.tools.is_array() && !options.tools.empty()) {
      QUERN_TRY(Value tools, runtime.from_json(options.tools));
      QUERN_CHECK(set_value(runtime, names, "tools", std::move(tools)));
    }
    if (options.enable_thinking) {
      const Value thinking = Value::boolean(*options.enable_thinking);
      QUERN_CHECK(set_value(runtime, names, "enable_thinking", thinking));
    }
    if (!options.variables.is_object()) return {};
    return runtime.set_members(names, options.variables);
  };
  return chosen.render(variables, {}, options.now);
}

}  // namespace quern::engine
