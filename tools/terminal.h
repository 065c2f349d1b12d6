// What goes to a terminal: text without control characters, and a progress line.
#pragma once

#include <string>
#include <string_view>

namespace quern::tools {

bool stdin_is_terminal();
bool stdout_is_terminal();

// `text` (UTF-8) with control characters other than newline and tab as \xHH, so that a model cannot
// send commands to the terminal.
std::string printable(std::string_view text);

// A line on standard error that shows how far something is; nothing if that is not a terminal.
class Progress {
 public:
  explicit Progress(std::string what);
  ~Progress() { clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void update(double fraction);       // 0 to 1
  void say(const std::string& text);  // instead of how far it is
  void clear();                       // erases the line, so that something else can be printed

 private:
  std::string what_;
  bool shown_;
  int percent_ = -1;
};

}  // namespace quern::tools
