#include "tools/repl_editor.h"

#include <histedit.h>
#include <unistd.h>

#include <clocale>
#include <cstdlib>
#include <cwchar>
#include <filesystem>

namespace quern::tools {
namespace {

constexpr int kHistoryLines = 1000;

// libedit works with wide characters, so the locale must be one of UTF-8.
void use_utf8_locale() {
  std::setlocale(LC_CTYPE, "");
  if (MB_CUR_MAX == 1) std::setlocale(LC_CTYPE, "C.UTF-8");
}

}  // namespace

struct LineEditor::Impl {
  Impl(Signals& s, std::string path) : signals(s), file(std::move(path)) {
    use_utf8_locale();
    editor = el_init("quern", stdin, stdout, stderr);
    lines = history_init();
    HistEvent event;
    history(lines, &event, H_SETSIZE, kHistoryLines);
    history(lines, &event, H_SETUNIQUE, 1);
    if (!file.empty()) history(lines, &event, H_LOAD, file.c_str());
    el_set(editor, EL_CLIENTDATA, this);
    el_set(editor, EL_EDITOR, "emacs");
    el_set(editor, EL_SIGNAL, 0);
    el_set(editor, EL_HIST, history, lines);
    el_set(editor, EL_PROMPT, &Impl::prompt_of);
    el_set(editor, EL_GETCFN, &Impl::read_character);
    el_set(editor, EL_BIND, "^R", "em-inc-search-prev", nullptr);
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() {
    history_end(lines);
    el_end(editor);
  }

  static Impl& of(EditLine* editor) {
    void* self = nullptr;
    el_get(editor, EL_CLIENTDATA, &self);
    return *static_cast<Impl*>(self);
  }

  static char* prompt_of(EditLine* editor) { return of(editor).prompt.data(); }

  // libedit's source of characters: 1 = one read, 0 = end, -1 = stop reading this line.
  static int read_character(EditLine* editor, wchar_t* character) {
    Impl& self = of(editor);
    std::mbstate_t state = {};
    while (true) {
      switch (self.signals.wait_for_input()) {
        case Signals::Event::kInterrupt:
          return -1;
        case Signals::Event::kResize:
          el_resize(editor);
          continue;
        case Signals::Event::kContinue:
          // The shell has changed the terminal's mode; libedit only sets it when it thinks it must.
          el_set(editor, EL_PREP_TERM, 0);
          el_set(editor, EL_PREP_TERM, 1);
          el_set(editor, EL_REFRESH);
          continue;
        case Signals::Event::kInput:
          break;
      }
      char byte = 0;
      const ssize_t count = ::read(STDIN_FILENO, &byte, 1);
      if (count <= 0) return 0;
      self.typed = true;
      const size_t length = std::mbrtowc(character, &byte, 1, &state);
      if (length == static_cast<size_t>(-2)) continue;  // more bytes of it follow
      if (length != static_cast<size_t>(-1)) return 1;
      state = {};  // not a character: pass over the byte
    }
  }

  Signals& signals;
  std::string file;
  EditLine* editor;
  History* lines;
  std::string prompt;
  bool typed = false;
};

LineEditor::LineEditor(Signals& signals, std::string history_path)
    : impl_(std::make_unique<Impl>(signals, std::move(history_path))) {}

LineEditor::~LineEditor() = default;

LineEditor::Read LineEditor::read(const std::string& prompt) {
  impl_->signals.clear();
  impl_->prompt = prompt;
  impl_->typed = false;
  int count = 0;
  // libedit would show the prompt first: keys pressed in between would be echoed twice, and lost
  // when Ctrl-C follows them.
  el_set(impl_->editor, EL_PREP_TERM, 1);
  const char* text = el_gets(impl_->editor, &count);
  Read read{.event = Event::kLine, .line = {}, .typed = impl_->typed};
  if (impl_->signals.end_signal() != 0) {
    read.event = Event::kEnd;
  } else if (cancel_token()) {
    read.event = Event::kInterrupt;
  } else if (!text || count <= 0) {
    read.event = Event::kEnd;
  } else {
    read.line.assign(text, static_cast<size_t>(count));
    if (read.line.ends_with('\n')) read.line.pop_back();
  }
  return read;
}

void LineEditor::remember(const std::string& line) {
  HistEvent event;
  history(impl_->lines, &event, H_ENTER, line.c_str());
  if (!impl_->file.empty()) history(impl_->lines, &event, H_SAVE, impl_->file.c_str());
}

std::string history_path() {
  const char* state = std::getenv("XDG_STATE_HOME");
  const char* home = std::getenv("HOME");
  std::filesystem::path folder;
  if (state && state[0] == '/') {
    folder = state;
  } else if (home && home[0] == '/') {
    folder = std::filesystem::path(home) / ".local/state";
  } else {
    return {};
  }
  folder /= "quern";
  std::error_code error;
  const bool made = std::filesystem::create_directories(folder, error);
  if (error) return {};
  if (made) std::filesystem::permissions(folder, std::filesystem::perms::owner_all, error);
  return (folder / "history").string();
}

}  // namespace quern::tools
