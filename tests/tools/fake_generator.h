// FakeGenerator: a Generator with scripted answers; one token per byte.
#pragma once

#include <deque>
#include <string>

#include "tools/chat_generator.h"

namespace quern::tools {

class FakeGenerator : public Generator {
 public:
  std::deque<Answer> answers;        // the next ones; afterwards "ok"
  std::vector<std::string> prompts;  // those that were answered
  uint32_t positions = 200;
  engine::SamplerOptions options;
  bool fails = false;
  bool system_reaches_model = true;
  size_t reads_again = 0;

  Result<engine::Prompt> prompt(std::span<const engine::Message> messages,
                                bool for_answer) const override {
    engine::Prompt prompt;
    for (const engine::Message& m : messages) prompt.text += m.role[0] + (":" + m.content) + ";";
    if (for_answer) prompt.text += "a:";
    prompt.ids.assign(prompt.text.begin(), prompt.text.end());
    return prompt;
  }
  size_t read_again(const engine::Prompt&) const override { return reads_again; }
  bool uses_system() const override { return system_reaches_model; }
  Result<Answer> answer(const engine::Prompt& prompt, size_t limit,
                        const OnToken& on_token) override {
    if (fails) return fail(ErrorKind::kFailure, "broken", "the model broke");
    prompts.push_back(prompt.text);
    Answer answer{.text = "ok", .stop = Stop::kEnd, .statistics = {}};
    if (!answers.empty()) {
      answer = answers.front();
      answers.pop_front();
    }
    if (limit > 0 && answer.text.size() > limit) {
      answer.text.resize(limit);
      answer.stop = Stop::kLimit;
    }
    for (const char& c : answer.text) on_token(c, std::string_view(&c, 1));
    answer.statistics.prompt_tokens = prompt.ids.size();
    answer.statistics.answer_tokens = answer.text.size();
    return answer;
  }
  void work_ahead(const engine::CancelToken&) override {}
  std::string piece(int32_t id) const override { return std::string(1, static_cast<char>(id)); }
  uint32_t context() const override { return positions; }
  uint32_t trained_context() const override { return 500; }
  Status set_context(uint32_t value) override {
    if (value > 100000) return fail(ErrorKind::kFailure, "out-of-memory", "too much");
    positions = value;
    return {};
  }
  std::string plan() const override { return "weights 1 GiB\n"; }
  std::string memory() const override { return "memory planned 1 GiB, measured 1 GiB"; }
  const engine::SamplerOptions& sampling() const override { return options; }
  Status set_sampling(engine::SamplerOptions value) override {
    options = std::move(value);
    return {};
  }
};

}  // namespace quern::tools
