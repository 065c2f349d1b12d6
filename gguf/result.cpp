// How errors become one line, and how untrusted text becomes printable.
#include "gguf/result.h"

#include <algorithm>
#include <cstdio>

namespace quern {
namespace {

// Length of the well-formed UTF-8 sequence that starts `text`, 0 if there is none (RFC 3629: no
// overlong forms, no surrogates, nothing above U+10FFFF). `code` receives the code point.
size_t decode_utf8(std::string_view text, uint32_t& code) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(0);
  const size_t length = lead < 0x80                    ? 1
                        : lead >= 0xC2 && lead <= 0xDF ? 2
                        : lead >= 0xE0 && lead <= 0xEF ? 3
                        : lead >= 0xF0 && lead <= 0xF4 ? 4
                                                       : 0;
  if (length == 0 || length > text.size()) return 0;
  code = length == 1 ? lead : lead & (0x7Fu >> length);
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
    code = code << 6 | (byte(i) & 0x3F);
  }
  constexpr uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
  return code < kSmallest[length] || surrogate || code > 0x10FFFF ? 0 : length;
}

// Characters that could move the cursor, break the line or reorder what follows on a terminal.
bool is_control(uint32_t code) {
  return code < 0x20 || (code >= 0x7F && code < 0xA0) || (code >= 0x2028 && code <= 0x202E) ||
         (code >= 0x2066 && code <= 0x2069);
}

void append_hex(std::string& out, std::string_view bytes) {
  for (const char c : bytes) {
    char text[5];
    std::snprintf(text, sizeof text, "\\x%02X", static_cast<uint8_t>(c));
    out += text;
  }
}

}  // namespace

std::string escape(std::string_view text, size_t limit) {
  std::string out = "\"";
  const size_t end = std::min(text.size(), limit);
  size_t at = 0;
  while (at < end) {
    uint32_t code = 0;
    const size_t length = decode_utf8(text.substr(at), code);
    if (at + length > end) break;  // a character across the limit is left out
    const std::string_view bytes = text.substr(at, std::max<size_t>(length, 1));
    if (length == 0 || is_control(code) || code == '"' || code == '\\') {
      append_hex(out, bytes);
    } else {
      out += bytes;
    }
    at += bytes.size();
  }
  if (at < text.size()) out += "…";
  return out + '"';
}

std::string Error::to_string() const {
  std::string line;
  if (!path.empty()) {
    // A path is shown as it was typed, unless it could garble the line.
    const std::string quoted = escape(path, path.size());
    line += (quoted.size() == path.size() + 2 ? path : quoted) + ": ";
  }
  line += message;
  if (offset) line += " at byte " + std::to_string(*offset);
  return line;
}

}  // namespace quern
