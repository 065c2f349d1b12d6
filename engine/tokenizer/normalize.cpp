#include "engine/tokenizer/normalize.h"

#include "engine/utf8.h"

namespace quern::engine {
namespace {

bool is_valid_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    if (static_cast<unsigned char>(text[i]) < 0x80) {
      ++i;
      continue;
    }
    const utf8::Character c = utf8::decode(text, i);
    if (!c.valid) return false;
    i += c.length;
  }
  return true;
}

}  // namespace

std::string with_space_symbols(std::string_view text, bool prefix) {
  std::string out;
  out.reserve(text.size() + text.size() / 2 + kSpaceSymbol.size());
  if (prefix) out += kSpaceSymbol;
  for (const char c : text) {
    if (c == ' ') {
      out += kSpaceSymbol;
    } else {
      out += c;
    }
  }
  return out;
}

std::string with_spaces(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    if (text.substr(i, kSpaceSymbol.size()) == kSpaceSymbol) {
      out += ' ';
      i += kSpaceSymbol.size();
    } else {
      out += text[i++];
    }
  }
  return out;
}

std::string_view without_malformed(std::string_view text, std::string& storage) {
  if (is_valid_utf8(text)) return text;
  storage.clear();
  for (size_t i = 0; i < text.size();) {
    const utf8::Character c = utf8::decode(text, i);
    utf8::append(storage, c.code);
    i += c.length;
  }
  return storage;
}

}  // namespace quern::engine
