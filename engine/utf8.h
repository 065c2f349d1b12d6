// UTF-8: decoding, lengths, and streaming output that never splits a character.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace quern::engine::utf8 {

inline constexpr char32_t kReplacement = 0xFFFD;

// One decoded character. `valid` is false for a malformed byte: then code is U+FFFD, length is 1.
struct Character {
  char32_t code = 0;
  uint32_t length = 0;  // bytes consumed, 1 to 4
  bool valid = true;
};

// The character at text[position]; position < text.size(). Overlong forms, surrogates and values
// above U+10FFFF are malformed.
Character decode(std::string_view text, size_t position);

void append(std::string& out, char32_t code);

// Number of code points; a malformed byte counts as one.
size_t length(std::string_view text);

// Collects bytes and releases complete characters.
class Stream {
 public:
  // The longest text that can be shown after adding `bytes`; malformed bytes become U+FFFD at once,
  // an incomplete tail (at most 3 bytes) is kept for the next call.
  std::string push(std::string_view bytes);
  // The end of the output: an incomplete tail becomes one U+FFFD.
  std::string finish();

 private:
  std::string pending_;
};

}  // namespace quern::engine::utf8
