// Looks for weights that are not numbers (spec: block formats, section 8.4).
#pragma once

#include <cstdint>
#include <optional>

#include "gguf/file.h"

namespace quern::gguf {

// Index of the first block of `tensor` whose scale or minimum (for plain floats: whose value) is
// NaN, infinite or a reserved code; nullopt if there is none. Codes are not looked at: all are
// decodable.
std::optional<uint64_t> find_corrupt_block(const TensorView& tensor);

}  // namespace quern::gguf
