// Normalization: how text is written inside a vocabulary, and back.
#pragma once

#include <string>
#include <string_view>

namespace quern::engine {

// A space inside the vocabulary: U+2581.
inline constexpr std::string_view kSpaceSymbol = "\xE2\x96\x81";

// Every space becomes the space symbol; `prefix` puts one more in front.
std::string with_space_symbols(std::string_view text, bool prefix);

// Every space symbol becomes a space.
std::string with_spaces(std::string_view text);

// `text` if it is valid UTF-8; else a copy in `storage` with U+FFFD for every malformed byte.
std::string_view without_malformed(std::string_view text, std::string& storage);

}  // namespace quern::engine
