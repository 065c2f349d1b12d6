#include "tools/chat_input.h"

#include <utility>

namespace quern::tools {

std::optional<Input> InputReader::push(std::string_view line) {
  constexpr std::string_view kQuotes = "\"\"\"";
  if (open_) {
    input_.text += '\n';
  } else if (line.starts_with(kQuotes)) {
    input_.block = true;
    line.remove_prefix(kQuotes.size());
  }
  const std::string_view mark = input_.block ? kQuotes : "\\";
  const bool marked = line.ends_with(mark);
  if (marked) line.remove_suffix(mark.size());
  input_.text += line;
  // The mark ends a block, but continues a line.
  open_ = input_.block != marked;
  if (open_) return std::nullopt;
  Input complete = std::exchange(input_, {});
  if (!complete.block) return complete;
  // The line breaks after the opening and before the closing quotes belong to the quotes.
  if (complete.text.starts_with('\n')) complete.text.erase(0, 1);
  if (complete.text.ends_with('\n')) complete.text.pop_back();
  return complete;
}

}  // namespace quern::tools
