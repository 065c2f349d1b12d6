// InputReader: puts typed lines together into inputs.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace quern::tools {

struct Input {
  std::string text;
  bool block = false;  // written between """ and """: never a command
};

// A line that ends with a backslash goes on in the next line. `"""` at the start of a line opens a
// block that ends with a line that ends with `"""`; a block may contain anything.
class InputReader {
 public:
  // The input that `line` (without its newline) completes, if it does.
  std::optional<Input> push(std::string_view line);
  // Whether a started input waits for more lines.
  bool open() const { return open_; }
  // Forgets a started input.
  void reset() { *this = {}; }

 private:
  Input input_;
  bool open_ = false;
};

}  // namespace quern::tools
