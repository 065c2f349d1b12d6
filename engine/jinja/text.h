// Python's view of strings: white space, code points, case, and how numbers are written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace quern::engine::jinja {

// What Python's str.isspace() accepts.
bool is_space(char32_t code);

enum class Side { kLeft, kRight, kBoth };
// Without white space at the ends, or without the characters of the set `characters`.
std::string_view strip(std::string_view text, Side side);
std::string_view strip(std::string_view text, Side side, std::string_view characters);

// Byte position of code point `index`; the size of the text if it has fewer.
size_t byte_position(std::string_view text, size_t index);

// Python's str.splitlines().
std::vector<std::string_view> lines(std::string_view text, bool keep_ends);

// ASCII letters only: roles, names and markers are ASCII.
std::string upper(std::string_view text);
std::string lower(std::string_view text);
std::string capitalize(std::string_view text);
std::string title(std::string_view text);

// Where a Python index or slice bound falls in a sequence of `length` items, clamped to [0,
// length].
size_t clamp_index(int64_t index, size_t length);

// The shortest decimal that reads back as the same number, as Python writes it: 1.0, 1e+16, inf.
std::string float_text(double value);

// Python's int(text, base) and float(text); nullopt if the text is no such number or does not fit.
std::optional<int64_t> parse_integer(std::string_view text, int base);
std::optional<double> parse_float(std::string_view text);

}  // namespace quern::engine::jinja
