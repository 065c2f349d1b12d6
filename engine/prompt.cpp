#include "engine/prompt.h"

#include <set>
#include <utility>

namespace quern::engine {
namespace {

// A noncharacter (Unicode 23.7: for internal use, never in text). Written into the text of a
// control token in a message, it keeps the tokenizer from recognising the token; the rendered
// prompt is cut where it stands, and it is gone.
constexpr std::string_view kCut = "\xEF\xB7\x90";  // U+FDD0
constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

std::string replaced(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  size_t begin = 0;
  for (size_t at = text.find(from); at != text.npos; at = text.find(from, begin)) {
    out.append(text.substr(begin, at - begin)).append(to);
    begin = at + from.size();
  }
  return out.append(text.substr(begin));
}

// The message with a cut inside every text of a control token.
std::string disarmed(const Tokenizer& tokenizer, std::string_view content) {
  std::string text = replaced(content, kCut, kReplacement);
  if (tokenizer.encode(text, false, true) == tokenizer.encode(text, false, false)) return text;
  const Vocabulary& vocabulary = tokenizer.vocabulary();
  std::set<size_t> cuts;
  for (int32_t id = 0; vocabulary.contains(id); ++id) {
    const Token& token = vocabulary[id];
    const bool control = token.type == TokenType::kControl || token.type == TokenType::kUnknown;
    if (!control || token.text.size() < 2) continue;
    for (size_t at = text.find(token.text); at != text.npos; at = text.find(token.text, at + 1)) {
      cuts.insert(at + 1);
    }
  }
  for (auto at = cuts.rbegin(); at != cuts.rend(); ++at) text.insert(*at, kCut);
  return text;
}

}  // namespace

Result<Prompt> chat_prompt(const ChatTemplate& chat_template, const Tokenizer& tokenizer,
                           std::span<const Message> messages, bool for_answer) {
  std::vector<Message> safe(messages.begin(), messages.end());
  for (Message& message : safe) message.content = disarmed(tokenizer, message.content);
  QUERN_TRY(const std::string rendered,
            chat_template.render(safe, {.add_generation_prompt = for_answer}));
  Prompt prompt{replaced(rendered, kCut, ""), {}};
  size_t begin = 0;
  for (size_t end = 0; end != rendered.npos; begin = end + kCut.size()) {
    end = rendered.find(kCut, begin);
    const std::string_view part = std::string_view(rendered).substr(begin, end - begin);
    const auto ids =
        begin == 0 ? tokenizer.encode_rendered(part) : tokenizer.encode(part, false, true);
    prompt.ids.insert(prompt.ids.end(), ids.begin(), ids.end());
  }
  return prompt;
}

Prompt raw_prompt(const Tokenizer& tokenizer, std::string text, bool special) {
  std::vector<int32_t> ids = tokenizer.encode(text, true, special);
  return {std::move(text), std::move(ids)};
}

}  // namespace quern::engine
