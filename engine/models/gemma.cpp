// Gemma (Gemma team 2024): embeddings grow by the root of their width, the gate is a gelu. The "1 +
// weight" of its norms is part of the stored weights.
#include <cmath>

#include "engine/models/builder.h"
#include "engine/models/families.h"
#include "engine/models/rope.h"

namespace quern::engine::models {

Result<Model> read_gemma(const gguf::File& file) {
  Keys keys(file, "gemma");
  QUERN_TRY(Config config, read_config(keys));
  QUERN_TRY(kernels::Rope rope, read_rope(keys, config, kernels::Rope::Pairs::kHalves));
  const float scale = std::sqrt(static_cast<float>(config.embedding));

  ModelBuilder model(keys, std::move(config), {rope});
  model.embed(scale);
  for (uint32_t layer = 0; layer < model.config().layers; ++layer) {
    model.attention(layer, {});
    model.feed_forward(layer, {.activation = kernels::Activation::kGelu});
  }
  model.output();
  return model.finish();
}

}  // namespace quern::engine::models
