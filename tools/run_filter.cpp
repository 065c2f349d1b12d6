#include "tools/run_filter.h"

#include <fmt/format.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <vector>

#include "tools/output.h"
#include "tools/terminal.h"

namespace quern::tools {
namespace {

using Json = nlohmann::ordered_json;

// Standard output; after a failure it keeps quiet, and says so at the end.
class Output {
 public:
  void write(std::string_view text) {
    if (status_) status_ = write_stdout(terminal_ ? printable(text) : std::string(text));
  }
  void write_line(const Json& object) { write(object.dump() + "\n"); }
  const Status& status() const { return status_; }

 private:
  bool terminal_ = stdout_is_terminal();
  Status status_;
};

Json summary(const Generator& generator, const Answer& answer) {
  const Statistics& s = answer.statistics;
  return {{"stop", name(answer.stop)},
          {"text", answer.text},
          {"prompt_tokens", s.prompt_tokens},
          {"answer_tokens", s.answer_tokens},
          {"context", generator.context()},
          {"seed", generator.sampling().seed},
          {"first_token_s", s.first_token_s},
          {"prefill_tokens_per_s", s.prefill_rate()},
          {"decode_tokens_per_s", s.decode_rate()}};
}

void explain(const Generator& generator, const FilterOptions& options, const Answer& answer) {
  if (answer.stop == Stop::kContextFull) {
    std::fprintf(stderr, "quern: the answer ends here because the context of %u tokens is full\n",
                 generator.context());
  }
  if (options.statistics) {
    std::fprintf(stderr, "quern: %s\nquern: %s\n", to_string(answer.statistics).c_str(),
                 generator.memory().c_str());
  }
}

}  // namespace

Status run_filter(Generator& generator, const FilterOptions& options) {
  if (options.prompt.empty()) return bad_input("prompt-empty", "the prompt is empty");
  std::vector<engine::Message> messages;
  if (!options.system.empty()) messages.push_back({"system", options.system});
  messages.push_back({"user", options.prompt});
  QUERN_TRY(const engine::Prompt prompt, generator.prompt(messages, true));

  Output output;
  const auto on_token = [&](int32_t id, std::string_view text) {
    if (!options.json) {
      output.write(text);
    } else if (id != kNoToken) {
      output.write_line({{"id", id}, {"text", text}});
    }
  };
  QUERN_TRY(const Answer answer, generator.answer(prompt, options.limit, on_token));
  if (options.json) {
    output.write_line(summary(generator, answer));
  } else if (!answer.text.ends_with('\n')) {
    output.write("\n");
  }
  explain(generator, options, answer);
  return output.status();
}

}  // namespace quern::tools
