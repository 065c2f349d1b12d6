#include "tools/repl_signals.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>

namespace quern::tools {
namespace {

constexpr std::array kSignals = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGCONT};

// What a signal handler may touch: lock-free flags, and a pipe that wakes wait_for_input().
engine::CancelToken cancelled{false};
std::atomic<int> end_requested{0};
std::atomic<bool> resized{false}, continued{false};
int wake_pipe[2] = {-1, -1};
std::array<struct sigaction, kSignals.size()> previous;
static_assert(engine::CancelToken::is_always_lock_free);

extern "C" void on_signal(int signal) {
  const int saved = errno;
  if (signal == SIGWINCH) {
    resized = true;
  } else if (signal == SIGCONT) {
    continued = true;
  } else {
    if (signal != SIGINT) end_requested = signal;
    cancelled = true;
  }
  // If the pipe is full there is enough in it to wake.
  [[maybe_unused]] const ssize_t written = write(wake_pipe[1], "", 1);
  errno = saved;
}

extern "C" void on_interrupt(int) {
  constexpr char kLine[] = "quern: stopped\n";
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, kLine, sizeof kLine - 1);
  _exit(130);
}

void drain() {
  char bytes[64];
  while (read(wake_pipe[0], bytes, sizeof bytes) > 0) {
  }
}

}  // namespace

Signals::Signals() {
  // Without a pipe the flags still work, they are only seen later.
  if (pipe2(wake_pipe, O_CLOEXEC | O_NONBLOCK) != 0) wake_pipe[0] = wake_pipe[1] = -1;
  struct sigaction action = {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &action, &previous[i]);
}

Signals::~Signals() {
  for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &previous[i], nullptr);
  for (int& end : wake_pipe) {
    if (end >= 0) close(end);
    end = -1;
  }
}

const engine::CancelToken& cancel_token() { return cancelled; }

int Signals::end_signal() const { return end_requested; }

void Signals::clear() {
  drain();
  cancelled = end_requested != 0;
}

Signals::Event Signals::wait_for_input() {
  while (true) {
    if (cancelled) return Event::kInterrupt;
    if (resized.exchange(false)) return Event::kResize;
    if (continued.exchange(false)) return Event::kContinue;
    std::array<pollfd, 2> wait = {{{STDIN_FILENO, POLLIN, 0}, {wake_pipe[0], POLLIN, 0}}};
    if (poll(wait.data(), wait.size(), -1) < 0 && errno != EINTR) return Event::kInput;
    if (wait[1].revents != 0) {
      drain();
    } else if (wait[0].revents != 0) {
      return Event::kInput;
    }
  }
}

// Who ignores Ctrl-C (a job in the background) keeps ignoring it.
InterruptEnds::InterruptEnds() : previous_(std::signal(SIGINT, on_interrupt)) {
  if (previous_ == SIG_IGN) std::signal(SIGINT, SIG_IGN);
}
InterruptEnds::~InterruptEnds() { std::signal(SIGINT, previous_); }

void end_by_signal(int signal) {
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

}  // namespace quern::tools
