// LineEditor: reads lines from a terminal with libedit, and keeps the history file.
#pragma once

#include <memory>
#include <string>

#include "tools/repl_signals.h"

namespace quern::tools {

class LineEditor {
 public:
  // Uses standard input and output, which must be a terminal. `history_path` may be empty.
  LineEditor(Signals& signals, std::string history_path);
  ~LineEditor();

  enum class Event {
    kLine,       // `line` was entered
    kInterrupt,  // Ctrl-C
    kEnd,        // Ctrl-D on an empty line, the terminal is gone, or a request to end
  };
  struct Read {
    Event event = Event::kEnd;
    std::string line;    // without its newline
    bool typed = false;  // whether a key was pressed before the event
  };
  // The terminal is in its usual mode again when this returns.
  Read read(const std::string& prompt);

  // Adds a line to the history and to its file.
  void remember(const std::string& line);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// $XDG_STATE_HOME/quern/history or ~/.local/state/quern/history; its folder is made when needed.
// Empty if neither is possible.
std::string history_path();

}  // namespace quern::tools
