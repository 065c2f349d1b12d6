// The commands of the chat: one table, one function each.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "tools/chat.h"

namespace quern::tools {
namespace {

std::string_view trim(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\n") + 1 - first);
}

// The first word, and what follows it.
std::pair<std::string_view, std::string_view> split_word(std::string_view text) {
  const size_t end = std::min(text.find_first_of(" \t\n"), text.size());
  return {text.substr(0, end), trim(text.substr(end))};
}

Result<uint32_t> parse_count(std::string_view name, std::string_view text) {
  uint32_t value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || stop != text.data() + text.size()) {
    return bad_input("option-value",
                     fmt::format("{} must be a whole number, not {}", name, escape(text)));
  }
  return value;
}

constexpr std::string_view kContextHelp = "positions of the context; changing it loads again";
constexpr std::string_view kLimitHelp = "tokens per answer; 0 = until the model ends";

}  // namespace

std::span<const Chat::Command> Chat::commands() {
  static constexpr Command kCommands[] = {
      {"help", "", "this list", &Chat::help},
      {"set", "[NAME [VALUE]]", "show or change settings", &Chat::set},
      {"system", "[TEXT|none]", "show or change the system message", &Chat::system},
      {"clear", "", "forget the conversation", &Chat::clear},
      {"retry", "", "answer the last message again", &Chat::retry},
      {"undo", "", "forget the last message and its answer", &Chat::undo},
      {"save", "FILE", "write conversation and settings (JSON)", &Chat::save},
      {"load", "FILE", "read what /save wrote", &Chat::load},
      {"tokens", "", "the exact ids and text of the last prompt", &Chat::tokens},
      {"stats", "[on|off]", "times of the last answer; on: after each one", &Chat::statistics},
      {"plan", "", "what takes how much memory, planned and measured", &Chat::plan},
      {"quit", "", "leave (also Ctrl-D, or Ctrl-C twice)", &Chat::quit},
  };
  return kCommands;
}

Status Chat::dispatch(std::string_view line) {
  const auto [name, argument] = split_word(line.substr(1));
  for (const Command& command : commands()) {
    if (command.name != name) continue;
    if (command.argument.empty() && !argument.empty()) {
      return bad_input("command", fmt::format("/{} takes no argument", name));
    }
    return (this->*command.run)(argument);
  }
  return bad_input("command", fmt::format("There is no command {}; /help lists them. (A message "
                                          "that begins with / needs a space before it.)",
                                          escape(line.substr(0, name.size() + 1))));
}

Status Chat::help(std::string_view) {
  for (const Command& command : commands()) {
    print_(fmt::format("  {:<22}{}\n", fmt::format("/{} {}", command.name, command.argument),
                       command.help));
  }
  print_(
      "Several lines: end a line with \\, or write the text between \"\"\" and \"\"\".\n"
      "Ctrl-C stops an answer. The prompt shows how much of the context is used.\n");
  return {};
}

Status Chat::set(std::string_view argument) {
  const auto [name, value] = split_word(argument);
  if (value.empty()) {
    const auto known = [n = name](const engine::OptionRow& row) { return row.name == n; };
    const bool exists = name.empty() || name == "ctx" || name == "n" ||
                        std::ranges::any_of(engine::option_rows(), known);
    if (!exists) {
      return bad_input("option-name",
                       fmt::format("There is no setting {}; /set lists them", escape(name)));
    }
    list_settings(name);
    return {};
  }
  if (name == "ctx") return set_context(value);
  if (name == "n") return set_limit(value);
  engine::SamplerOptions sampling = generator_.sampling();
  QUERN_CHECK(set_option(sampling, name, value));
  return generator_.set_sampling(std::move(sampling));
}

void Chat::list_settings(std::string_view only) {
  const auto line = [&](std::string_view name, std::string_view value, std::string_view help) {
    if (only.empty() || only == name)
      print_(fmt::format("  {:<19} {:<10} {}\n", name, value, help));
  };
  line("ctx", std::to_string(generator_.context()), kContextHelp);
  line("n", std::to_string(limit_), kLimitHelp);
  for (const engine::OptionRow& row : engine::option_rows()) {
    line(row.name, option_text(generator_.sampling(), row), row.help);
  }
  for (const auto& [id, bias] : generator_.sampling().logit_bias) {
    line("logit_bias", fmt::format("{}={}", id, bias), "added to the logit of a token");
  }
}

Status Chat::set_context(std::string_view value) {
  QUERN_TRY(const uint32_t positions, parse_count("ctx", value));
  QUERN_CHECK(generator_.set_context(positions));
  if (positions > generator_.trained_context()) {
    print_(fmt::format("[this model was trained for {} positions; answers beyond may be poor]\n",
                       generator_.trained_context()));
  }
  return {};
}

Status Chat::set_limit(std::string_view value) {
  QUERN_TRY(limit_, parse_count("n", value));
  return {};
}

Status Chat::system(std::string_view argument) {
  if (argument.empty()) {
    print_(conversation_.system.empty() ? std::string("[no system message]\n")
                                        : conversation_.system + "\n");
    return {};
  }
  conversation_.system = argument == "none" ? std::string() : std::string(argument);
  if (!conversation_.system.empty() && !generator_.uses_system()) {
    print_("[this model's chat template drops system messages]\n");
  }
  recount();
  return {};
}

Status Chat::clear(std::string_view) {
  conversation_.messages.clear();
  recount();
  return {};
}

Status Chat::retry(std::string_view) {
  std::vector<engine::Message>& messages = conversation_.messages;
  if (messages.empty()) return bad_input("command", "There is nothing to answer yet");
  std::vector<engine::Message> before = messages;
  if (messages.back().role == "assistant") messages.pop_back();
  Status status = answer();
  if (!status) messages = std::move(before);
  return status;
}

Status Chat::undo(std::string_view) {
  std::vector<engine::Message>& messages = conversation_.messages;
  if (messages.empty()) return bad_input("command", "There is nothing to undo");
  if (messages.back().role == "assistant") messages.pop_back();
  if (!messages.empty() && messages.back().role == "user") messages.pop_back();
  recount();
  return {};
}

ChatSettings Chat::settings() const {
  return {generator_.context(), limit_, generator_.sampling()};
}

Status Chat::save(std::string_view path) {
  if (path.empty()) return bad_input("command", "/save needs a file name");
  QUERN_CHECK(save_chat(std::string(path), {conversation_, settings()}));
  print_(
      fmt::format("[saved {} messages to {}]\n", conversation_.messages.size(), escape(path, 256)));
  return {};
}

Status Chat::load(std::string_view path) {
  if (path.empty()) return bad_input("command", "/load needs a file name");
  QUERN_TRY(SavedChat chat, load_chat(std::string(path), settings()));
  QUERN_CHECK(engine::validate(chat.settings.sampling));
  if (chat.settings.context != generator_.context()) {
    QUERN_CHECK(generator_.set_context(chat.settings.context));
  }
  QUERN_CHECK(generator_.set_sampling(std::move(chat.settings.sampling)));
  limit_ = chat.settings.limit;
  conversation_ = std::move(chat.conversation);
  recount();
  print_(fmt::format("[loaded {} messages from {}]\n", conversation_.messages.size(),
                     escape(path, 256)));
  return {};
}

Status Chat::tokens(std::string_view) {
  if (last_prompt_.ids.empty()) return bad_input("command", "There was no prompt yet");
  for (const int32_t id : last_prompt_.ids) {
    print_(fmt::format("{:>8}  {}\n", id, escape(generator_.piece(id))));
  }
  print_(fmt::format("{} tokens. The text before the tokenizer added its own:\n{}\n",
                     last_prompt_.ids.size(), escape(last_prompt_.text, last_prompt_.text.size())));
  return {};
}

Status Chat::statistics(std::string_view argument) {
  if (argument == "on" || argument == "off") {
    show_statistics_ = argument == "on";
    return {};
  }
  if (!argument.empty()) return bad_input("command", "/stats takes on, off or nothing");
  if (!last_statistics_) return bad_input("command", "There was no answer yet");
  print_statistics();
  return {};
}

Status Chat::plan(std::string_view) {
  print_(generator_.plan());
  return {};
}

Status Chat::quit(std::string_view) {
  leaving_ = true;
  return {};
}

}  // namespace quern::tools
