#include "engine/tokenizer/byte_map.h"

#include <array>

namespace quern::engine {
namespace {

constexpr char32_t kFirstSubstitute = 0x100;
constexpr size_t kSubstitutes = 68;

constexpr bool stands_for_itself(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr auto kSubstituted = [] {
  std::array<uint8_t, kSubstitutes> bytes = {};
  size_t count = 0;
  for (unsigned byte = 0; byte < 256; ++byte) {
    if (!stands_for_itself(byte)) bytes[count++] = static_cast<uint8_t>(byte);
  }
  return bytes;
}();

constexpr auto kCharacters = [] {
  std::array<char32_t, 256> characters = {};
  for (unsigned byte = 0; byte < 256; ++byte) characters[byte] = byte;
  for (size_t i = 0; i < kSubstitutes; ++i) {
    characters[kSubstituted[i]] = static_cast<char32_t>(kFirstSubstitute + i);
  }
  return characters;
}();

}  // namespace

char32_t byte_to_character(uint8_t byte) { return kCharacters[byte]; }

std::optional<uint8_t> character_to_byte(char32_t character) {
  if (character < kFirstSubstitute) {
    if (!stands_for_itself(character)) return std::nullopt;
    return static_cast<uint8_t>(character);
  }
  if (character >= kFirstSubstitute + kSubstitutes) return std::nullopt;
  return kSubstituted[character - kFirstSubstitute];
}

}  // namespace quern::engine
