#include "tools/terminal.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <utility>

#include "engine/utf8.h"

namespace quern::tools {

bool stdin_is_terminal() { return isatty(STDIN_FILENO) != 0; }
bool stdout_is_terminal() { return isatty(STDOUT_FILENO) != 0; }

std::string printable(std::string_view text) {
  std::string safe;
  safe.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const engine::utf8::Character c = engine::utf8::decode(text, i);
    const bool control = c.code < 0x20 || (c.code >= 0x7F && c.code < 0xA0);
    if (control && c.code != '\n' && c.code != '\t') {
      safe += fmt::format("\\x{:02X}", static_cast<uint32_t>(c.code));
    } else if (c.valid) {
      safe += text.substr(i, c.length);
    } else {
      engine::utf8::append(safe, engine::utf8::kReplacement);
    }
    i += c.length;
  }
  return safe;
}

Progress::Progress(std::string what) : what_(std::move(what)), shown_(isatty(STDERR_FILENO) != 0) {}

void Progress::clear() {
  if (shown_ && percent_ >= 0) std::fputs("\r\x1b[K", stderr);
  percent_ = -1;
}

void Progress::update(double fraction) {
  const int percent = static_cast<int>(fraction * 100);
  if (!shown_ || percent == percent_) return;
  percent_ = percent;
  std::fprintf(stderr, "\r\x1b[K%s %d %%", what_.c_str(), percent);
}

void Progress::say(const std::string& text) {
  if (!shown_) return;
  percent_ = 0;
  std::fprintf(stderr, "\r\x1b[K%s", text.c_str());
}

}  // namespace quern::tools
