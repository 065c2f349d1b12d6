#include "engine/utf8.h"

namespace quern::engine::utf8 {
namespace {

// Bytes that a character with this lead byte has; 0 for a byte that cannot start one.
uint32_t expected_length(unsigned char lead) {
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return 2;
  if (lead >= 0xE0 && lead <= 0xEF) return 3;
  if (lead >= 0xF0 && lead <= 0xF4) return 4;
  return 0;
}

// The second byte excludes overlong forms (E0, F0), surrogates (ED) and values above U+10FFFF (F4).
bool valid_continuation(unsigned char lead, uint32_t index, unsigned char byte) {
  if ((byte & 0xC0) != 0x80) return false;
  if (index != 1) return true;
  switch (lead) {
    case 0xE0:
      return byte >= 0xA0;
    case 0xED:
      return byte < 0xA0;
    case 0xF0:
      return byte >= 0x90;
    case 0xF4:
      return byte < 0x90;
    default:
      return true;
  }
}

// How many bytes at `position` form a valid beginning of a character, complete or not.
uint32_t valid_prefix(std::string_view text, size_t position) {
  const auto lead = static_cast<unsigned char>(text[position]);
  const uint32_t wanted = expected_length(lead);
  uint32_t have = wanted > 0 ? 1 : 0;
  while (have < wanted && position + have < text.size() &&
         valid_continuation(lead, have, static_cast<unsigned char>(text[position + have]))) {
    ++have;
  }
  return have;
}

}  // namespace

Character decode(std::string_view text, size_t position) {
  const auto lead = static_cast<unsigned char>(text[position]);
  const uint32_t wanted = expected_length(lead);
  if (wanted == 0 || valid_prefix(text, position) < wanted) return {kReplacement, 1, false};
  if (wanted == 1) return {lead, 1, true};
  char32_t code = lead & (0x7F >> wanted);
  for (uint32_t i = 1; i < wanted; ++i) {
    code = code << 6 | (static_cast<unsigned char>(text[position + i]) & 0x3F);
  }
  return {code, wanted, true};
}

void append(std::string& out, char32_t code) {
  const auto put = [&](uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6);
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3F));
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

size_t length(std::string_view text) {
  size_t count = 0;
  for (size_t i = 0; i < text.size(); i += decode(text, i).length) ++count;
  return count;
}

std::string Stream::push(std::string_view bytes) {
  pending_ += bytes;
  std::string out;
  size_t i = 0;
  while (i < pending_.size()) {
    const uint32_t wanted = expected_length(static_cast<unsigned char>(pending_[i]));
    const uint32_t have = valid_prefix(pending_, i);
    if (have < wanted && i + have == pending_.size()) break;  // may still become complete
    const Character c = decode(pending_, i);
    append(out, c.code);
    i += c.length;
  }
  pending_.erase(0, i);
  return out;
}

std::string Stream::finish() {
  std::string out;
  if (!pending_.empty()) append(out, kReplacement);
  pending_.clear();
  return out;
}

}  // namespace quern::engine::utf8
