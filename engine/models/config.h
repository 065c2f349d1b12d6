// What the families read from the metadata alike. Keys and defaults: spec, architectures, 1.1.
#pragma once

#include <optional>
#include <vector>

#include "engine/metadata.h"
#include "engine/model.h"

namespace quern::engine::models {

// Which layers have attention: a hybrid's layers without it have no key/value heads.
enum class Layers { kAttention, kHybrid };

// Reads the keys that every decoder has. Errors: "key-…".
Result<Config> read_config(Keys& keys, kernels::Norm::Kind norm = kernels::Norm::Kind::kRms,
                           Layers layers = Layers::kAttention);

// Rows that a short convolution looks at.
inline constexpr Keys::Range kTaps = {2, 16};

// The window of every layer, 0: none. All but every `period`-th layer have one (0: all), unless the
// file has a pattern of its own; `fallback` is the window if the file has none.
std::vector<uint32_t> read_windows(Keys& keys, uint32_t layers, uint32_t period,
                                   std::optional<uint64_t> fallback = {});

// 1 / sqrt(E / H): the scale of scores where heads are wider than their share of the embedding.
float score_scale_of_embedding(const Config& config);

// `routing`, with the gate, scale and groups of the file where it has them.
kernels::Routing read_routing(Keys& keys, const Config& config, kernels::Routing routing = {});

}  // namespace quern::engine::models
