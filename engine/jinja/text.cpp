// Python's string rules over UTF-8.
#include "engine/jinja/text.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "engine/utf8.h"

namespace quern::engine::jinja {
namespace {

char ascii_upper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; }
char ascii_lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }
bool ascii_letter(char c) { return ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z'; }

// Start of the last character of `text`, which is not empty.
size_t last_character(std::string_view text) {
  const size_t furthest = text.size() < 4 ? 0 : text.size() - 4;
  for (size_t at = furthest; at + 1 < text.size(); ++at) {
    const auto character = utf8::decode(text, at);
    if (character.valid && at + character.length == text.size()) return at;
  }
  return text.size() - 1;
}

template <typename Predicate>
std::string_view strip_if(std::string_view text, Side side, Predicate drop) {
  while (side != Side::kRight && !text.empty()) {
    const size_t length = utf8::decode(text, 0).length;
    if (!drop(text.substr(0, length))) break;
    text.remove_prefix(length);
  }
  while (side != Side::kLeft && !text.empty()) {
    const size_t start = last_character(text);
    if (!drop(text.substr(start))) break;
    text = text.substr(0, start);
  }
  return text;
}

}  // namespace

bool is_space(char32_t code) {
  return (code >= 0x09 && code <= 0x0D) || (code >= 0x1C && code <= 0x20) || code == 0x85 ||
         code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 ||
         code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

std::string_view strip(std::string_view text, Side side) {
  return strip_if(text, side, [](std::string_view character) {
    const auto decoded = utf8::decode(character, 0);
    return decoded.valid && is_space(decoded.code);
  });
}

std::string_view strip(std::string_view text, Side side, std::string_view characters) {
  return strip_if(text, side, [&](std::string_view character) {
    return characters.find(character) != std::string_view::npos;
  });
}

size_t byte_position(std::string_view text, size_t index) {
  size_t at = 0;
  for (; index > 0 && at < text.size(); --index) at += utf8::decode(text, at).length;
  return at;
}

std::vector<std::string_view> lines(std::string_view text, bool keep_ends) {
  const auto ends_line = [](char32_t code) {
    return (code >= 0x0A && code <= 0x0D) || (code >= 0x1C && code <= 0x1E) || code == 0x85 ||
           code == 0x2028 || code == 0x2029;
  };
  std::vector<std::string_view> result;
  size_t start = 0;
  for (size_t at = 0; at < text.size();) {
    const auto character = utf8::decode(text, at);
    const size_t end = at;
    at += character.length;
    if (!character.valid || !ends_line(character.code)) continue;
    if (character.code == '\r' && at < text.size() && text[at] == '\n') ++at;
    result.push_back(text.substr(start, (keep_ends ? at : end) - start));
    start = at;
  }
  if (start < text.size()) result.push_back(text.substr(start));
  return result;
}

std::string upper(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), ascii_upper);
  return out;
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), ascii_lower);
  return out;
}

std::string capitalize(std::string_view text) {
  std::string out = lower(text);
  if (!out.empty()) out[0] = ascii_upper(out[0]);
  return out;
}

std::string title(std::string_view text) {
  std::string out = lower(text);
  bool inside_word = false;
  for (char& c : out) {
    if (!inside_word) c = ascii_upper(c);
    inside_word = ascii_letter(c) || static_cast<uint8_t>(c) >= 0x80;
  }
  return out;
}

size_t clamp_index(int64_t index, size_t length) {
  const auto signed_length = static_cast<int64_t>(length);
  if (index < 0) index = std::max<int64_t>(index, -signed_length) + signed_length;
  return static_cast<size_t>(std::min(index, signed_length));
}

std::string float_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[512];
  const double size = std::abs(value);
  const bool scientific = size != 0 && (size < 1e-4 || size >= 1e16);
  const auto format = scientific ? std::chars_format::scientific : std::chars_format::fixed;
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, format).ptr;
  std::string out(buffer, end);
  if (!scientific && out.find('.') == std::string::npos) out += ".0";
  return out;
}

std::optional<int64_t> parse_integer(std::string_view text, int base) {
  text = strip(text, Side::kBoth);
  if (text.starts_with('+')) text.remove_prefix(1);
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<double> parse_float(std::string_view text) {
  text = strip(text, Side::kBoth);
  if (text.starts_with('+')) text.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace quern::engine::jinja
