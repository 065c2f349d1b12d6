// How attention is dealt out to workgroups: a choice of speed, made in one place so that the
// workspace has room for what the dispatches need.
#pragma once

#include <cstdint>

#include "kernels/backend.h"
#include "kernels/vulkan/kernel.h"

namespace quern::kernels::vulkan {

// A workgroup takes `rows` rows times `heads` query heads of one key/value head, and one of
// `splits` parts of the positions.
struct AttentionTiling {
  uint32_t rows, heads, splits;
  Groups groups;

  // Bytes of the partial results of all splits, and of the counters that tell who ends last
  // (shaders/shared.h, AttentionPush); 0 where there is one split.
  uint64_t partial_bytes, counter_bytes;
};

// For `rows` rows whose longest sequence has `positions` positions.
AttentionTiling tile_attention(const Heads& heads, uint32_t rows, uint32_t positions);

// The most that any step needs.
uint64_t most_partial_bytes(const Heads& heads, const MaxBatch& max);
uint64_t most_counter_bytes(const Heads& heads, const MaxBatch& max);

}  // namespace quern::kernels::vulkan
