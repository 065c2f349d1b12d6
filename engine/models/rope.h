// Rope: turns a model's rope keys and tensors into frequencies (spec: architectures, section 3).
#pragma once

#include "engine/metadata.h"
#include "engine/model.h"

namespace quern::engine::models {

// The rotation of every layer that uses the "rope.*" keys and the optional tensor
// rope_freqs.weight. Scaling types none, linear and yarn. Errors: "key-…", "rope-scaling" (a type
// that is not supported), "tensor-shape" for rope_freqs.
Result<kernels::Rope> read_rope(const gguf::File& file, const Config& config,
                                kernels::Rope::Pairs pairs);

}  // namespace quern::engine::models
