// Random weights in any format, for synthetic models: real shapes without a download.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "gguf/format.h"

namespace quern::kernels {

// Fills whole blocks with random codes under constant scales, so that decoded values have mean 0
// (as far as the format's codes allow) and about the given deviation. Deterministic: equal
// arguments give equal bytes on every machine.
void random_weights(gguf::Format format, float deviation, uint64_t seed, std::span<std::byte> out);

}  // namespace quern::kernels
