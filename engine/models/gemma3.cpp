// Gemma 3, text (Gemma team 2025): Gemma 2 with norms of q and k instead of soft caps; five layers
// of six are windowed and have an unscaled rope of base 10000.
#include <cmath>

#include "engine/models/builder.h"
#include "engine/models/families.h"
#include "engine/models/rope.h"

namespace quern::engine::models {

Result<Model> read_gemma3(const gguf::File& file) {
  Keys keys(file, "gemma3");
  QUERN_TRY(Config config, read_config(keys));
  QUERN_TRY(kernels::Rope rope, read_rope(keys, config, kernels::Rope::Pairs::kHalves));
  kernels::Rope window_rope = read_window_rope(keys, config, kernels::Rope::Pairs::kHalves, 10000);
  const float scale = std::sqrt(static_cast<float>(config.embedding));
  const std::vector<uint32_t> windows = read_windows(keys, config.layers, 6);
  const auto logit_cap = static_cast<float>(keys.real("final_logit_softcapping", {0, 1e6}, 0.0));
  // The 27B, known by its depth, scales scores by the width of E / H values.
  const float score_scale = config.layers == 62 ? score_scale_of_embedding(config) : 0;

  ModelBuilder model(keys, std::move(config), {rope, window_rope});
  model.embed(scale);
  for (uint32_t layer = 0; layer < model.config().layers; ++layer) {
    model.attention(layer, {.residual = {.norm = "attn_norm", .post_norm = "post_attention_norm"},
                            .rope = windows[layer] > 0 ? 1u : 0u,
                            .qk_norm = kernels::HeadNorm::Over::kEachHead,
                            .scale = score_scale,
                            .window = windows[layer]});
    model.feed_forward(layer, {.residual = {.norm = "ffn_norm", .post_norm = "post_ffw_norm"},
                               .activation = kernels::Activation::kGelu});
  }
  model.output(1, logit_cap);
  return model.finish();
}

}  // namespace quern::engine::models
