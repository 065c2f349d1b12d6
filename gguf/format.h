// Format: the block formats of formats.def as an enum, compile-time traits and run-time facts.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "gguf/block_layout.h"

namespace quern::gguf {

// Values are dense indices (0 … kFormatCount-1), not GGUF type ids.
enum class Format : uint8_t {
#define QUERN_FORMAT(name, ...) name,
#include "gguf/formats.def"
#undef QUERN_FORMAT
};

struct FormatInfo {
  Format format;
  std::string_view name;  // as users see it: "q4_K"
  uint32_t type_id;       // as the file stores it
  uint32_t block_values;  // V: values per block
  uint32_t block_bytes;   // B: bytes per block
  uint32_t scale_group;   // values sharing one scale: 16, 32, or 0 for plain floats
  int code_bias;          // added to codes makes them unsigned

  constexpr bool is_float() const { return scale_group == 0; }
  // Whether value = scale * code - min has a min.
  constexpr bool has_minimum() const { return !is_float() && code_bias == 0; }
  double bits_per_value() const { return 8.0 * block_bytes / block_values; }
  // Bytes of one row of `values` values; `values` must be a multiple of block_values.
  uint64_t row_bytes(uint64_t values) const { return values / block_values * block_bytes; }
};

inline constexpr std::array kFormats = {
#define QUERN_FORMAT(name, text, id, values, bytes, group, bias) \
  FormatInfo{Format::name, text, id, values, bytes, group, bias},
#include "gguf/formats.def"
#undef QUERN_FORMAT
};
inline constexpr size_t kFormatCount = kFormats.size();

constexpr const FormatInfo& info(Format format) { return kFormats[static_cast<size_t>(format)]; }

// The format with this GGUF type id or this user name (case-insensitive), if there is one.
std::optional<Format> format_from_type_id(uint32_t type_id);
std::optional<Format> format_from_name(std::string_view name);

// Compile-time view of a row: Traits<Format::Q4_K>::Block, ::kValues, ::kBytes, ::kScaleGroup.
template <Format>
struct Traits;
#define QUERN_FORMAT(name, text, id, values, bytes, group, ...) \
  template <>                                                   \
  struct Traits<Format::name> {                                 \
    using Block = Block##name;                                  \
    static constexpr uint32_t kValues = values;                 \
    static constexpr uint32_t kBytes = bytes;                   \
    static constexpr uint32_t kScaleGroup = group;              \
    static_assert(sizeof(Block) == bytes);                      \
  };
#include "gguf/formats.def"
#undef QUERN_FORMAT

}  // namespace quern::gguf
