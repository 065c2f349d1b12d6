// Command R7B (Cohere 2024): attention and feed-forward side by side under one layer norm; three
// layers of four are windowed with rope, the fourth sees everything without.
#include "engine/models/builder.h"
#include "engine/models/families.h"
#include "engine/models/rope.h"

namespace quern::engine::models {

Result<Model> read_cohere2(const gguf::File& file) {
  Keys keys(file, "cohere2");
  QUERN_TRY(Config config, read_config(keys, kernels::Norm::Kind::kLayer));
  QUERN_TRY(kernels::Rope rope, read_rope(keys, config, kernels::Rope::Pairs::kInterleaved));
  const std::vector<uint32_t> windows = read_windows(keys, config.layers, 4);
  const auto scale = static_cast<float>(keys.real("logit_scale", {1e-6, 1e6}));

  ModelBuilder model(keys, std::move(config), {rope});
  model.embed();
  for (uint32_t layer = 0; layer < model.config().layers; ++layer) {
    model.attention(layer, {.residual = {.norm = "attn_norm", .parallel = true},
                            .rope = windows[layer] > 0 ? 0 : kernels::kAbsent,
                            .window = windows[layer]});
    model.feed_forward(layer, {.residual = {.norm = "attn_norm", .parallel = true}});
  }
  model.output(scale);
  return model.finish();
}

}  // namespace quern::engine::models
