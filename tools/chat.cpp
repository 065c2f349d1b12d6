#include "tools/chat.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "gguf/exceptions.h"

namespace quern::tools {
namespace {

constexpr size_t kManyTokens = 256;  // take seconds to read

}  // namespace

Chat::Chat(Generator& generator, Options options, Print print)
    : generator_(generator),
      print_(std::move(print)),
      conversation_{std::move(options.system), {}},
      limit_(options.limit),
      show_statistics_(options.statistics) {}

bool Chat::handle(const Input& input) {
  const bool blank = input.text.find_first_not_of(" \t\n") == std::string::npos;
  if (blank) return true;
  const bool command = !input.block && input.text.starts_with('/');
  const Status status =
      catch_exceptions([&] { return command ? dispatch(input.text) : say(input.text); });
  if (!status) print_(fmt::format("{}\n", status.error().to_string()));
  return !leaving_;
}

std::string Chat::prompt() const {
  const std::string context = std::to_string(generator_.context());
  return fmt::format("[{:>{}}/{}] > ", used_, context.size(), context);
}

std::vector<engine::Message> Chat::messages() const {
  std::vector<engine::Message> all;
  if (!conversation_.system.empty()) all.push_back({"system", conversation_.system});
  all.insert(all.end(), conversation_.messages.begin(), conversation_.messages.end());
  return all;
}

Status Chat::say(std::string_view text) {
  conversation_.messages.push_back({"user", std::string(text)});
  Status status = answer();
  if (!status) conversation_.messages.pop_back();
  return status;
}

Status Chat::answer() {
  QUERN_TRY(engine::Prompt prompt, generator_.prompt(messages(), true));
  if (prompt.ids.size() >= generator_.context()) {
    return bad_input("context-full",
                     fmt::format("The context is full: this needs {} tokens and room for an "
                                 "answer, the context has {}. Nothing was dropped and the message "
                                 "was not added. {}",
                                 prompt.ids.size(), generator_.context(), ways_out()));
  }
  last_prompt_ = std::move(prompt);
  explain_wait();
  const auto show = [this](int32_t, std::string_view text) { print_(text); };
  Result<Answer> answer = generator_.answer(last_prompt_, limit_, show);
  print_("\n");
  if (!answer) return tl::unexpected(std::move(answer.error()));
  last_statistics_ = answer->statistics;
  if (answer->text.empty() && answer->stop == Stop::kCancelled) {
    return fail(ErrorKind::kCancelled, "cancelled",
                "[stopped before the answer began; the message was taken back]");
  }
  used_ = std::min<size_t>(last_prompt_.ids.size() + answer->statistics.answer_tokens,
                           generator_.context());
  conversation_.messages.push_back({"assistant", std::move(answer->text)});
  explain_stop(answer->stop);
  if (show_statistics_) print_statistics();
  return {};
}

// Once: it is the same every time.
void Chat::explain_wait() {
  const size_t tokens = generator_.read_again(last_prompt_);
  if (told_of_reading_ || tokens < kManyTokens) return;
  told_of_reading_ = true;
  print_(
      fmt::format("[{} tokens are read again: this model does not keep all that it has read, so "
                  "going back this far takes as long as reading it for the first time]\n",
                  tokens));
}

void Chat::explain_stop(Stop stop) {
  switch (stop) {
    case Stop::kEnd:
      break;
    case Stop::kLimit:
      print_(fmt::format("[stopped after {} tokens; /set n changes that]\n", limit_));
      break;
    case Stop::kContextFull:
      print_(fmt::format("[the context of {} tokens is full, so the answer ends here. {}]\n",
                         generator_.context(), ways_out()));
      break;
    case Stop::kCancelled:
      print_("[stopped]\n");
      break;
  }
}

std::string Chat::ways_out() const {
  const uint32_t trained = generator_.trained_context();
  return fmt::format(
      "/undo forgets the last exchange, /clear all of them, /set ctx N makes room "
      "({})",
      trained > generator_.context() ? fmt::format("this model can use up to {}", trained)
                                     : fmt::format("but this model was trained for {}", trained));
}

void Chat::print_statistics() { print_(fmt::format("[{}]\n", to_string(*last_statistics_))); }

void Chat::recount() {
  used_ = 0;
  if (conversation_.messages.empty()) return;
  if (const auto prompt = generator_.prompt(messages(), false)) used_ = prompt->ids.size();
}

}  // namespace quern::tools
