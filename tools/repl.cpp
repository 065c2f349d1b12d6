#include "tools/repl.h"

#include <cstdio>
#include <thread>

#include "tools/repl_editor.h"
#include "tools/terminal.h"

namespace quern::tools {
namespace {

void print(std::string_view text) {
  const std::string safe = printable(text);
  std::fwrite(safe.data(), 1, safe.size(), stdout);
  std::fflush(stdout);
}

// Work ahead of the next answer while the user types.
class WorkAhead {
 public:
  explicit WorkAhead(Generator& generator) {
    try {
      thread_ = std::jthread([&] { generator.work_ahead(stop_); });
    } catch (const std::system_error&) {
      // No thread is to be had: the answer does the work.
    }
  }
  ~WorkAhead() { stop_ = true; }
  WorkAhead(const WorkAhead&) = delete;
  WorkAhead& operator=(const WorkAhead&) = delete;

 private:
  engine::CancelToken stop_{false};
  std::jthread thread_;  // joined before stop_ goes
};

LineEditor::Read read_line(LineEditor& editor, const std::string& prompt, Generator& generator) {
  const WorkAhead work(generator);
  return editor.read(prompt);
}

void read_and_answer(Chat& chat, LineEditor& editor, Signals& signals, Generator& generator) {
  InputReader reader;
  bool interrupted = false;  // by the event before
  while (true) {
    const LineEditor::Read read =
        read_line(editor, reader.open() ? "... " : chat.prompt(), generator);
    if (read.event != LineEditor::Event::kLine) print("\n");
    if (read.event == LineEditor::Event::kEnd) return;
    if (read.event == LineEditor::Event::kInterrupt) {
      if (interrupted && !read.typed) return;
      interrupted = true;
      reader.reset();
      print("(Ctrl-C again or /quit leaves)\n");
      continue;
    }
    interrupted = false;
    if (!read.line.empty()) editor.remember(read.line);
    const std::optional<Input> input = reader.push(read.line);
    if (!input) continue;
    signals.clear();
    if (!chat.handle(*input) || signals.end_signal() != 0) return;
  }
}

}  // namespace

Status run_repl(Generator& generator, Chat::Options options, const std::string& greeting) {
  Signals signals;
  print(greeting + "\n");
  Chat chat(generator, std::move(options), print);
  {
    LineEditor editor(signals, history_path());
    read_and_answer(chat, editor, signals, generator);
  }
  if (const int signal = signals.end_signal()) end_by_signal(signal);
  return {};
}

}  // namespace quern::tools
