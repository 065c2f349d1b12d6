// Rope: turns a model's rope keys and tensors into frequencies (spec: architectures, section 3).
#pragma once

#include "engine/metadata.h"
#include "engine/model.h"

namespace quern::engine::models {

// The rotation of every layer that uses the "rope.*" keys and the optional tensor
// rope_freqs.weight. Scaling types none, linear, yarn, and longrope with its short factors. Errors:
// "key-…", "rope-scaling" (a type that is not supported), "tensor-…" for the divisors.
Result<kernels::Rope> read_rope(Keys& keys, const Config& config, kernels::Rope::Pairs pairs);

// The rotation of layers with a window where it is not scaled: base rope.freq_base_swa, or `base`.
kernels::Rope read_window_rope(Keys& keys, const Config& config, kernels::Rope::Pairs pairs,
                               double base);

// The rope of longer contexts, for files that have longrope factors.
Result<LongRope> read_long_rope(Keys& keys, const Config& config, kernels::Rope::Pairs pairs);

}  // namespace quern::engine::models
