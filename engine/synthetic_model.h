// Synthetic models: random weights in real shapes, so that speed can be measured and tests can run
// without a download.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "engine/mix.h"
#include "gguf/writer.h"

namespace quern::engine {

struct SyntheticShape {
  std::string_view name;
  std::string_view architecture;  // llama, qwen2, qwen3, qwen3moe, gpt-oss, gemma3 or qwen35
  uint32_t layers, embedding, feed_forward;
  uint32_t heads, kv_heads, head_width;
  uint32_t vocabulary, context;
  float rope_base;
  bool tied = false;  // no output matrix of its own
  uint32_t experts = 0, experts_used = 0;
  uint32_t window = 0;  // of the windowed layers
};

// The shapes of well-known models, smallest first.
std::span<const SyntheticShape> synthetic_shapes();
const SyntheticShape* find_synthetic_shape(std::string_view name);

// The whole file, ready to be written; weights are made while it is. Deterministic in all
// arguments.
gguf::Writer synthetic_model(const SyntheticShape& shape, const Mix& mix, uint64_t seed);

}  // namespace quern::engine
