// The alphabet of byte-level BPE: every byte is written as one printable character (Radford et al.,
// "Language Models are Unsupervised Multitask Learners", 2019). Printable Latin-1 stands for
// itself, the other 68 bytes, ascending, for U+0100, U+0101, ...
#pragma once

#include <cstdint>
#include <optional>

namespace quern::engine {

char32_t byte_to_character(uint8_t byte);

// nullopt if the character stands for no byte.
std::optional<uint8_t> character_to_byte(char32_t character);

}  // namespace quern::engine
