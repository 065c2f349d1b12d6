// What a mixture of experts keeps between its dispatches (shaders/shared.h, "Experts of a step").
// A slot is one expert of one row.
#pragma once

#include <array>
#include <cstdint>

#include "kernels/backend.h"

namespace quern::kernels::vulkan {

enum ExpertPart : size_t {
  kRouterLogits,  // f32 [rows][experts]
  kChoices,       // ExpertTile [slots]
  kShares,        // f32 [slots]
  kIndices,       // uint32 [slots], ordered by expert
  kTiles,         // ExpertTile [tiles], of kMatmulTile slots of one expert
  kDoubledTiles,  // those of kChoices or kTiles, where gate and up are one tensor
  kGate,          // f32 [slots][hidden], where gate and up have different formats
  kHidden,        // f32 [slots][hidden]
  kProducts,      // f32 [slots][out]
  kExpertParts
};
using ExpertBytes = std::array<uint64_t, kExpertParts>;

// Bytes of each part for a step of `rows` rows.
ExpertBytes expert_bytes(const Program& program, const Experts& op, uint32_t rows);

// Tiles that are enough for any choice of experts.
uint32_t expert_tiles(uint32_t slots, uint32_t experts);

}  // namespace quern::kernels::vulkan
