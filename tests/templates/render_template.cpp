// render_template MODEL.gguf: what the chat template of a model makes of conversations.
// Reads lines {"messages": […], "tools": […], "add_generation_prompt": bool, "variables": {…}}.
// Prints one line about the template, {"template": text or null, "bos_token": text, …}, then for
// each conversation {"text": …} or {"error": …}.
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/chat_template.h"
#include "engine/tokenizer/tokenizer.h"
#include "gguf/file.h"

namespace {

using namespace quern;
using nlohmann::ordered_json;

std::vector<engine::Message> messages_of(const ordered_json& list) {
  std::vector<engine::Message> messages;
  for (ordered_json extra : list) {
    engine::Message message{extra["role"], extra["content"]};
    extra.erase("role");
    extra.erase("content");
    message.extra = std::move(extra);
    messages.push_back(std::move(message));
  }
  return messages;
}

ordered_json describe(const gguf::File& file, const engine::Tokenizer& tokenizer) {
  ordered_json out;
  const std::string_view text = file.text("tokenizer.chat_template");
  if (!text.empty()) out["template"] = text;
  out["bos_token"] = tokenizer.special_text(engine::Role::kBos);
  out["eos_token"] = tokenizer.special_text(engine::Role::kEos);
  out["unk_token"] = tokenizer.special_text(engine::Role::kUnknown);
  out["pad_token"] = tokenizer.special_text(engine::Role::kPadding);
  return out;
}

ordered_json render(const engine::ChatTemplate& chat, const ordered_json& line) {
  engine::ChatOptions options;
  options.add_generation_prompt = line.value("add_generation_prompt", true);
  options.tools = line.value("tools", ordered_json());
  options.variables = line.value("variables", ordered_json());
  const auto text = chat.render(messages_of(line["messages"]), options);
  if (!text) return {{"error", text.error().to_string()}};
  return {{"text", *text}};
}

Status run(const char* path) {
  QUERN_TRY(const gguf::File file, gguf::File::open(path));
  QUERN_TRY(const engine::Tokenizer tokenizer, engine::Tokenizer::from_file(file));
  QUERN_TRY(const engine::ChatTemplate chat, engine::ChatTemplate::from_file(file, tokenizer));
  std::cout << describe(file, tokenizer).dump() << '\n';
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << render(chat, ordered_json::parse(line)).dump() << '\n';
  }
  return {};
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 2) {
    std::fputs("usage: render_template MODEL.gguf < conversations.jsonl\n", stderr);
    return 2;
  }
  const Status status = run(arguments[1]);
  if (!status) std::fprintf(stderr, "%s\n", status.error().to_string().c_str());
  return status ? 0 : 1;
}
