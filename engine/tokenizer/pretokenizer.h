// Pre-tokenizers: how text is cut into pieces before BPE merges inside each piece.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "engine/tokenizer/regex.h"
#include "gguf/result.h"

namespace quern::engine {

enum PretokenizerFlags : uint8_t {
  kIgnoreMerges = 1,    // a piece that is a token is used whole
  kAddBos = 2,          // begins with bos unless the file says otherwise
  kNoDefaultBos = 4,    // no bos unless the file names one
  kCharacters = 8,      // symbols are characters, not bytes
  kSpaceSymbols = 16,   // a space is written U+2581
  kWholeLineEnds = 32,  // a run of line ends that is a token is used whole
  kForceBos = 64,       // begins with bos whatever the file says
};

// One row of pretokenizers.def.
struct Pretokenizer {
  std::string_view names;  // values of `tokenizer.ggml.pre`, separated by spaces
  uint8_t flags;
  std::array<std::string_view, 6> steps;  // applied in order; empty ones end the list

  bool has(PretokenizerFlags flag) const { return (flags & flag) != 0; }
};

// A step that is code, not a pattern: cuts each run of digits into threes counted from its end.
inline constexpr std::string_view kDigitGroups = "digit groups";

inline constexpr std::string_view kDefaultPretokenizer = "default";
// Llama 3's pieces without Llama 3's flags: the likeliest guess for an unknown name.
inline constexpr std::string_view kFallbackPretokenizer = "dbrx";

std::span<const Pretokenizer> pretokenizer_table();

// nullptr if there is no such name.
const Pretokenizer* find_pretokenizer(std::string_view name);

// A row made ready: its patterns compiled.
class TextSplitter {
 public:
  static Result<TextSplitter> make(const Pretokenizer& row);

  // Where the pieces of `text` (valid UTF-8) end, ascending; the last is text.size(). Each step
  // cuts every piece again: matches become pieces, and so does the text between them. A piece's end
  // is the end of the text for the next step's look-ahead.
  std::vector<size_t> split(std::string_view text) const;

 private:
  struct Step {
    Regex regex;
    bool digit_groups;  // regex finds runs of digits
  };
  std::vector<Step> steps_;
};

}  // namespace quern::engine
