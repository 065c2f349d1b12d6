// SHA-256 digests in hexadecimal.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "gguf/result.h"

namespace quern::bench {

// Errors: "sha256".
Result<std::string> sha256(std::span<const std::byte> bytes);

}  // namespace quern::bench
