#include "engine/tokenizer/pretokenizer.h"

#include <optional>

#include "engine/utf8.h"

namespace quern::engine {
namespace {

constexpr Pretokenizer kTable[] = {
#define PRETOKENIZER(names, flags, ...) {names, flags, {__VA_ARGS__}},
#include "engine/tokenizer/pretokenizers.def"
#undef PRETOKENIZER
};

bool lists(std::string_view names, std::string_view name) {
  while (!names.empty()) {
    const size_t length = std::min(names.find(' '), names.size());
    if (names.substr(0, length) == name) return true;
    names.remove_prefix(std::min(length + 1, names.size()));
  }
  return false;
}

// Ends of the groups of `digits`, counted from its end; all shifted by `offset`.
void cut_digit_groups(std::string_view digits, size_t offset, std::vector<size_t>& ends) {
  size_t left = utf8::length(digits);
  for (size_t i = 0; i < digits.size();) {
    i += utf8::decode(digits, i).length;
    if (--left % 3 == 0) ends.push_back(offset + i);
  }
}

}  // namespace

std::span<const Pretokenizer> pretokenizer_table() { return kTable; }

const Pretokenizer* find_pretokenizer(std::string_view name) {
  for (const Pretokenizer& row : kTable) {
    if (lists(row.names, name)) return &row;
  }
  return nullptr;
}

Result<TextSplitter> TextSplitter::make(const Pretokenizer& row) {
  TextSplitter splitter;
  for (const std::string_view step : row.steps) {
    if (step.empty()) break;
    const bool digit_groups = step == kDigitGroups;
    QUERN_TRY(Regex regex, Regex::compile(digit_groups ? R"(\p{N}+)" : step));
    splitter.steps_.push_back({std::move(regex), digit_groups});
  }
  return splitter;
}

std::vector<size_t> TextSplitter::split(std::string_view text) const {
  if (text.empty()) return {};
  Regex::Scratch scratch;
  std::vector<size_t> ends = {text.size()}, next;
  for (const Step& step : steps_) {
    next.clear();
    size_t begin = 0;
    for (const size_t end : ends) {
      const std::string_view piece = text.substr(begin, end - begin);
      size_t position = 0;
      while (position < piece.size()) {
        const std::optional<Regex::Match> match = step.regex.find(piece, position, scratch);
        if (!match) break;
        if (match->begin > position) next.push_back(begin + match->begin);
        if (step.digit_groups) {
          cut_digit_groups(piece.substr(match->begin, match->end - match->begin),
                           begin + match->begin, next);
        } else {
          next.push_back(begin + match->end);
        }
        position = match->end;
      }
      if (position < piece.size()) next.push_back(end);
      begin = end;
    }
    ends.swap(next);
  }
  return ends;
}

}  // namespace quern::engine
