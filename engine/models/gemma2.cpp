// Gemma 2 (Gemma team 2024): Gemma with a norm after each block too, every other layer windowed,
// and soft caps on scores and logits.
#include <cmath>

#include "engine/models/builder.h"
#include "engine/models/families.h"
#include "engine/models/rope.h"

namespace quern::engine::models {

Result<Model> read_gemma2(const gguf::File& file) {
  Keys keys(file, "gemma2");
  QUERN_TRY(Config config, read_config(keys));
  QUERN_TRY(kernels::Rope rope, read_rope(keys, config, kernels::Rope::Pairs::kHalves));
  const float scale = std::sqrt(static_cast<float>(config.embedding));
  const std::vector<uint32_t> windows = read_windows(keys, config.layers, 2, 4096);
  const auto score_cap = static_cast<float>(keys.real("attn_logit_softcapping", {1e-3, 1e6}, 50.0));
  const auto logit_cap =
      static_cast<float>(keys.real("final_logit_softcapping", {1e-3, 1e6}, 30.0));
  // The 27B, known by its depth, scales scores by the width of E / H values.
  const float score_scale = config.layers == 46 ? score_scale_of_embedding(config) : 0;

  ModelBuilder model(keys, std::move(config), {rope});
  model.embed(scale);
  for (uint32_t layer = 0; layer < model.config().layers; ++layer) {
    model.attention(layer, {.residual = {.norm = "attn_norm", .post_norm = "post_attention_norm"},
                            .scale = score_scale,
                            .softcap = score_cap,
                            .window = windows[layer]});
    model.feed_forward(layer, {.residual = {.norm = "ffn_norm", .post_norm = "post_ffw_norm"},
                               .activation = kernels::Activation::kGelu});
  }
  model.output(1, logit_cap);
  return model.finish();
}

}  // namespace quern::engine::models
