// Regex: a compiled PCRE2 pattern for splitting text; the only place that knows the library.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string_view>

#include "gguf/result.h"

namespace quern::engine {

class Regex {
 public:
  // Working memory of a search. One per thread; serves any number of patterns.
  class Scratch {
   public:
    Scratch();
    ~Scratch();
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;

   private:
    friend class Regex;
    struct Handles;
    std::unique_ptr<Handles> handles_;
  };

  struct Match {
    size_t begin = 0;
    size_t end = 0;
  };

  // `pattern`: Perl syntax over code points. \s means exactly the characters with the Unicode
  // property White_Space, \S all others; a class [...] may contain \s but not \S.
  // Errors: "tokenizer-regex" when the library refuses it or has no memory.
  static Result<Regex> compile(std::string_view pattern);

  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  ~Regex();

  // The leftmost match in `text` (valid UTF-8) that begins at `from` or later. nullopt: none, or
  // the search needed more steps than any text should (a limit guards against patterns that
  // explode). Never an empty match.
  std::optional<Match> find(std::string_view text, size_t from, Scratch& scratch) const;

 private:
  struct Code;
  explicit Regex(std::unique_ptr<Code> code);
  std::unique_ptr<Code> code_;
};

}  // namespace quern::engine
