#include "engine/tokenizer/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include <new>
#include <string>

namespace quern::engine {
namespace {

// Backtracking steps per search. The patterns in use need a few per character of one white-space
// run.
constexpr uint32_t kMatchLimit = 50'000'000;
constexpr size_t kSmallestStack = 32 * 1024;
constexpr size_t kLargestStack = 16 * 1024 * 1024;

// PCRE2's own \s also matches U+180E, which is no white space since Unicode 6.3.
std::string with_exact_white_space(std::string_view pattern) {
  constexpr std::string_view kWhiteSpace = "\\p{Z}\\t-\\r\\x{85}";
  std::string out;
  bool in_class = false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\' && i + 1 < pattern.size()) {
      const char escaped = pattern[++i];
      if (escaped == 's') {
        out += in_class ? std::string(kWhiteSpace) : fmt::format("[{}]", kWhiteSpace);
      } else if (escaped == 'S') {
        out += fmt::format("[^{}]", kWhiteSpace);
      } else {
        out += {c, escaped};
      }
      continue;
    }
    if (c == '[') in_class = true;
    if (c == ']') in_class = false;
    out += c;
  }
  return out;
}

}  // namespace

struct Regex::Scratch::Handles {
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(kSmallestStack, kLargestStack, nullptr);

  ~Handles() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
    pcre2_jit_stack_free(stack);
  }
};

Regex::Scratch::Scratch() : handles_(std::make_unique<Handles>()) {
  if (!handles_->data || !handles_->context) throw std::bad_alloc();
  pcre2_set_match_limit(handles_->context, kMatchLimit);
  // Without a stack (none to be had, or no JIT) PCRE2 uses its own small one or the interpreter.
  if (handles_->stack) pcre2_jit_stack_assign(handles_->context, nullptr, handles_->stack);
}
Regex::Scratch::~Scratch() = default;

struct Regex::Code {
  pcre2_code* code = nullptr;
  ~Code() { pcre2_code_free(code); }
};

Regex::Regex(std::unique_ptr<Code> code) : code_(std::move(code)) {}
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

Result<Regex> Regex::compile(std::string_view pattern) {
  const std::string exact = with_exact_white_space(pattern);
  int error = 0;
  size_t offset = 0;
  auto code = std::make_unique<Code>();
  code->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(exact.data()), exact.size(),
                             PCRE2_UTF | PCRE2_UCP | PCRE2_DOLLAR_ENDONLY | PCRE2_NO_AUTO_CAPTURE,
                             &error, &offset, nullptr);
  if (!code->code) {
    char text[256] = "";
    pcre2_get_error_message(error, reinterpret_cast<PCRE2_UCHAR*>(text), sizeof text);
    return fail(
        ErrorKind::kFailure, "tokenizer-regex",
        fmt::format("the splitting pattern {} is refused at {}: {}", escape(exact), offset, text));
  }
  // A refusal (no executable memory) leaves the slower interpreter, which gives the same matches.
  pcre2_jit_compile(code->code, PCRE2_JIT_COMPLETE);
  return Regex(std::move(code));
}

std::optional<Regex::Match> Regex::find(std::string_view text, size_t from,
                                        Scratch& scratch) const {
  const Scratch::Handles& handles = *scratch.handles_;
  const int count =
      pcre2_match(code_->code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                  PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, handles.data, handles.context);
  if (count < 0) return std::nullopt;
  const size_t* ends = pcre2_get_ovector_pointer(handles.data);
  return Match{ends[0], ends[1]};
}

}  // namespace quern::engine
