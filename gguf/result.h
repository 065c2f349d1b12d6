// Result<T>: how everything that can fail for a reason outside our own code reports it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace quern {

// What the caller should do about an error; a program's exit code follows from it.
enum class ErrorKind {
  kBadInput,     // a file, prompt or option is wrong: exit code 2
  kFailure,      // the machine or the system refused: exit code 1
  kUnsupported,  // well-formed, but not something Quern can do: exit code 2
  kCancelled,    // the user stopped it
};

// One thing that went wrong. `message` is a complete sentence without a final full stop and without
// control characters; strings that come from a file are quoted and escaped in it (see escape()).
struct Error {
  ErrorKind kind = ErrorKind::kFailure;
  std::string code;     // stable short name, for example "data-bounds"; tests compare this
  std::string message;  // what is wrong and what to do
  std::string path;     // file concerned, if any
  std::string field;    // which part of it, for example `shape of tensor "output.weight"`
  std::optional<uint64_t> offset;  // where that field starts, in bytes from the start of the file
  std::string found;               // the offending value
  std::string allowed;             // what would have been accepted

  // The one line a user sees: `PATH: MESSAGE [at byte OFFSET]`.
  std::string to_string() const;
};

template <typename T>
using Result = tl::expected<T, Error>;
using Status = Result<void>;

inline tl::unexpected<Error> fail(ErrorKind kind, std::string code, std::string message) {
  return tl::unexpected<Error>(
      Error{kind, std::move(code), std::move(message), {}, {}, {}, {}, {}});
}
inline tl::unexpected<Error> bad_input(std::string code, std::string message) {
  return fail(ErrorKind::kBadInput, std::move(code), std::move(message));
}

// `text` in double quotes with control characters, quotes, backslashes and invalid UTF-8 as \xHH,
// cut at `limit` bytes of input (… marks the cut). Use it for every string that comes from a file.
std::string escape(std::string_view text, size_t limit = 64);

}  // namespace quern

// Returns the error of a Result expression, or assigns its value:
//   QUERN_TRY(auto file, gguf::File::open(path));
#define QUERN_TRY(declaration, expression) \
  QUERN_TRY_IMPL(QUERN_CONCAT(quern_result_, __LINE__), declaration, expression)
#define QUERN_CHECK(expression)                        \
  if (auto quern_status = (expression); !quern_status) \
  return tl::unexpected(std::move(quern_status.error()))
#define QUERN_CONCAT_IMPL(a, b) a##b
#define QUERN_CONCAT(a, b) QUERN_CONCAT_IMPL(a, b)
#define QUERN_TRY_IMPL(result, declaration, expression)          \
  auto result = (expression);                                    \
  if (!result) return tl::unexpected(std::move(result.error())); \
  declaration = std::move(*result)
