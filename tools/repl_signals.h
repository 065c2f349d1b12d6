// Signals of the chat: Ctrl-C stops an answer, a request to end leaves in order, so that the
// terminal is always restored.
#pragma once

#include "engine/engine.h"

namespace quern::tools {

// Set by Ctrl-C and by requests to end while a Signals lives.
const engine::CancelToken& cancel_token();

// Handles SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH and SIGCONT as long as it lives. One at a
// time.
class Signals {
 public:
  Signals();
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;
  ~Signals();

  // The signal that asked the program to end; 0 = none.
  int end_signal() const;
  // Forgets a Ctrl-C, once it has been dealt with.
  void clear();

  enum class Event {
    kInput,      // standard input can be read
    kInterrupt,  // Ctrl-C or a request to end
    kResize,     // the terminal has another size
    kContinue,   // the program was stopped (Ctrl-Z) and goes on
  };
  // Sleeps until one of them happens.
  Event wait_for_input();
};

// While it lives, and no Signals does, Ctrl-C prints a line and ends the program with exit code
// 130: for work that cannot be left in order, and leaves nothing behind.
class InterruptEnds {
 public:
  InterruptEnds();
  InterruptEnds(const InterruptEnds&) = delete;
  InterruptEnds& operator=(const InterruptEnds&) = delete;
  ~InterruptEnds();

 private:
  void (*previous_)(int);
};

// Ends the program by this signal, with the signal's default action.
void end_by_signal(int signal);

}  // namespace quern::tools
