// The codebooks of the CPU as one block of bytes, for the shaders' decoders.
#pragma once

#include <cstddef>
#include <vector>

namespace quern::kernels::vulkan {

// kCodebookBytes bytes, each table at its place (shaders/shared.h). Shaders take the address of a
// copy of them as `codebooks`.
std::vector<std::byte> codebook_bytes();

}  // namespace quern::kernels::vulkan
