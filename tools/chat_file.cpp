#include "tools/chat_file.h"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

namespace quern::tools {
namespace {

using nlohmann::json;
using Json = nlohmann::ordered_json;
constexpr const char* kVersionKey = "quern_conversation";

tl::unexpected<Error> malformed(const std::string& path, std::string what) {
  return bad_input("load-json", fmt::format("{} is not a saved chat: {}", escape(path, 256), what));
}

Json settings_json(const ChatSettings& settings) {
  Json out = {{"ctx", settings.context}, {"n", settings.limit}};
  for (const engine::OptionRow& row : engine::option_rows()) {
    out[std::string(row.name)] = Json::parse(option_text(settings.sampling, row));
  }
  for (const auto& [id, bias] : settings.sampling.logit_bias) {
    out["logit_bias"].push_back(fmt::format("{}={}", id, bias));
  }
  return out;
}

Status read_logit_bias(const json& value, engine::SamplerOptions& options) {
  options.logit_bias.clear();
  for (const json& item : value) {
    if (!item.is_string()) return bad_input("load-json", "logit_bias must hold texts ID=BIAS");
    QUERN_CHECK(set_option(options, "logit_bias", item.get_ref<const std::string&>()));
  }
  return {};
}

Status read_settings(const json& object, ChatSettings& settings) {
  for (const auto& [name, value] : object.items()) {
    if (name == "ctx" || name == "n") {
      if (!value.is_number_unsigned() || value.get<uint64_t>() > UINT32_MAX) {
        return bad_input("load-json", name + " must be a whole number below 2^32");
      }
      if (name == "ctx") settings.context = value.get<uint32_t>();
      if (name == "n") settings.limit = value.get<uint32_t>();
    } else if (name == "logit_bias") {
      QUERN_CHECK(read_logit_bias(value, settings.sampling));
    } else {
      QUERN_CHECK(set_option(settings.sampling, name, value.is_number() ? value.dump() : ""));
    }
  }
  return {};
}

Status read_messages(const json& array, std::vector<engine::Message>& messages) {
  for (const json& item : array) {
    const json role = item.is_object() ? item.value("role", json()) : json();
    const json content = item.is_object() ? item.value("content", json()) : json();
    if ((role != "user" && role != "assistant") || !content.is_string()) {
      return bad_input("load-json", "a message needs a role (user or assistant) and a text");
    }
    messages.push_back({role.get<std::string>(), content.get<std::string>()});
  }
  return {};
}

Result<json> read_json(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return bad_input("load-open", fmt::format("cannot open {}", escape(path, 256)));
  // Deeper values than a chat has are dropped: the library copies them by recursion.
  const auto shallow = [](int depth, json::parse_event_t, json&) { return depth <= 4; };
  json document = json::parse(file, shallow, /*allow_exceptions=*/false);
  if (!document.is_object()) return malformed(path, "it is not a JSON object");
  const auto version = document.find(kVersionKey);
  if (version == document.end() || *version != 1) {
    return malformed(path, fmt::format("\"{}\" is not 1", kVersionKey));
  }
  return document;
}

}  // namespace

Status save_chat(const std::string& path, const SavedChat& chat) {
  std::error_code ignored;
  if (std::filesystem::exists(path, ignored) && !read_json(path)) {
    return bad_input("save-exists", fmt::format("{} exists and is not a saved chat; it was not "
                                                "replaced",
                                                escape(path, 256)));
  }
  Json document = {{kVersionKey, 1}, {"system", chat.conversation.system}};
  document["messages"] = Json::array();
  for (const engine::Message& message : chat.conversation.messages) {
    document["messages"].push_back({{"role", message.role}, {"content", message.content}});
  }
  document["settings"] = settings_json(chat.settings);

  const std::string temporary = path + ".new";
  std::ofstream file(temporary, std::ios::binary);
  // What is not UTF-8 is replaced: JSON cannot hold it.
  file << document.dump(2, ' ', false, Json::error_handler_t::replace) << '\n';
  file.close();
  std::error_code error;
  if (file) std::filesystem::rename(temporary, path, error);
  if (!file || error) {
    std::filesystem::remove(temporary, ignored);
    return fail(ErrorKind::kFailure, "write", fmt::format("cannot write {}", escape(path, 256)));
  }
  return {};
}

Result<SavedChat> load_chat(const std::string& path, const ChatSettings& defaults) {
  QUERN_TRY(const json document, read_json(path));
  SavedChat chat{.conversation = {}, .settings = defaults};
  const json system = document.value("system", json(""));
  const json messages = document.value("messages", json::array());
  const json settings = document.value("settings", json::object());
  if (!system.is_string() || !messages.is_array() || !settings.is_object()) {
    return malformed(path, "\"system\", \"messages\" or \"settings\" has the wrong type");
  }
  chat.conversation.system = system.get<std::string>();
  if (const Status s = read_messages(messages, chat.conversation.messages); !s) {
    return malformed(path, s.error().message);
  }
  if (const Status s = read_settings(settings, chat.settings); !s) {
    return malformed(path, s.error().message);
  }
  return chat;
}

}  // namespace quern::tools
