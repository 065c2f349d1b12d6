// SmolLM3 (Hugging Face 2025): Llama's graph, but every fourth layer has no rope (Yang et al. 2025,
// "RNoPE").
#include "engine/models/builder.h"
#include "engine/models/families.h"
#include "engine/models/rope.h"

namespace quern::engine::models {

Result<Model> read_smollm3(const gguf::File& file) {
  Keys keys(file, "smollm3");
  QUERN_TRY(Config config, read_config(keys));
  QUERN_TRY(kernels::Rope rope, read_rope(keys, config, kernels::Rope::Pairs::kInterleaved));

  ModelBuilder model(keys, std::move(config), {rope});
  model.embed();
  for (uint32_t layer = 0; layer < model.config().layers; ++layer) {
    model.attention(layer, {.rope = (layer + 1) % 4 == 0 ? kernels::kAbsent : 0});
    model.feed_forward(layer, {});
  }
  model.output();
  return model.finish();
}

}  // namespace quern::engine::models
