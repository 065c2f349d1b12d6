// Chat: a conversation with a model, and the commands that steer it. Knows nothing of terminals.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "tools/chat_file.h"
#include "tools/chat_generator.h"
#include "tools/chat_input.h"

namespace quern::tools {

class Chat {
 public:
  struct Options {
    std::string system;       // system message; "" = none
    size_t limit = 0;         // tokens per answer; 0 = until the model ends
    bool statistics = false;  // show them after each answer
  };
  using Print = std::function<void(std::string_view)>;

  // Answers are printed as they come. The generator must outlive the chat.
  Chat(Generator& generator, Options options, Print print);

  // Carries out a command (`/name ...`) or answers a message; what goes wrong is printed, and the
  // conversation is then as before. False when the user wants to leave.
  bool handle(const Input& input);

  // The prompt with its context meter: `[ 37/512] > `.
  std::string prompt() const;

  const Conversation& conversation() const { return conversation_; }

 private:
  struct Command {
    std::string_view name, argument, help;
    Status (Chat::*run)(std::string_view argument);
  };
  static std::span<const Command> commands();
  Status dispatch(std::string_view line);

  // chat.cpp: turns.
  Status say(std::string_view text);
  // Answers the conversation, which ends with the user's message, and appends the answer.
  Status answer();
  void explain_wait();
  void explain_stop(Stop stop);
  void print_statistics();
  // How to get room in a full context.
  std::string ways_out() const;
  // What the model sees: the system message, if any, and the messages.
  std::vector<engine::Message> messages() const;
  // Counts the tokens of a conversation that was changed other than by an answer.
  void recount();

  // chat_commands.cpp
  Status help(std::string_view argument);
  Status set(std::string_view argument);
  Status system(std::string_view argument);
  Status clear(std::string_view argument);
  Status retry(std::string_view argument);
  Status undo(std::string_view argument);
  Status save(std::string_view argument);
  Status load(std::string_view argument);
  Status tokens(std::string_view argument);
  Status statistics(std::string_view argument);
  Status plan(std::string_view argument);
  Status quit(std::string_view argument);
  Status set_context(std::string_view value);
  Status set_limit(std::string_view value);
  void list_settings(std::string_view only);
  ChatSettings settings() const;

  Generator& generator_;
  Print print_;
  Conversation conversation_;
  size_t limit_;
  bool show_statistics_;
  bool told_of_reading_ = false;
  bool leaving_ = false;
  size_t used_ = 0;  // tokens of the conversation, for the meter
  engine::Prompt last_prompt_;
  std::optional<Statistics> last_statistics_;
};

}  // namespace quern::tools
