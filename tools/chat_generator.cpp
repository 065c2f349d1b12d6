#include "tools/chat_generator.h"

#include <fmt/format.h>

namespace quern::tools {
namespace {

double rate(double tokens, double seconds) {
  return tokens > 0 && seconds > 0 ? tokens / seconds : 0;
}

}  // namespace

std::string_view name(Stop stop) {
  switch (stop) {
    case Stop::kEnd:
      return "end";
    case Stop::kLimit:
      return "limit";
    case Stop::kContextFull:
      return "context-full";
    case Stop::kCancelled:
      return "cancelled";
  }
  return "";
}

double Statistics::prefill_rate() const {
  return rate(static_cast<double>(prompt_tokens - cached_tokens), prefill_s);
}

// The first token comes out of the prefill, so only the others count.
double Statistics::decode_rate() const {
  return rate(static_cast<double>(answer_tokens) - 1, decode_s);
}

std::string to_string(const Statistics& s) {
  return fmt::format(
      "prompt {} tokens ({} kept from before), {:.1f} t/s; first token after {:.0f} ms; answer {} "
      "tokens, {:.1f} t/s",
      s.prompt_tokens, s.cached_tokens, s.prefill_rate(), s.first_token_s * 1000, s.answer_tokens,
      s.decode_rate());
}

}  // namespace quern::tools
