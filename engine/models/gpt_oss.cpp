// gpt-oss (OpenAI 2025): every other layer windowed, a sink per head, biases everywhere, experts
// with a clamped gate. "post_attention_norm" is the norm before the experts.
#include "engine/models/builder.h"
#include "engine/models/families.h"
#include "engine/models/rope.h"

namespace quern::engine::models {

Result<Model> read_gpt_oss(const gguf::File& file) {
  Keys keys(file, "gpt-oss");
  QUERN_TRY(Config config, read_config(keys));
  QUERN_TRY(kernels::Rope rope, read_rope(keys, config, kernels::Rope::Pairs::kHalves));
  const std::vector<uint32_t> windows = read_windows(keys, config.layers, 2);
  const kernels::Routing routing = read_routing(keys, config);
  const uint32_t width = config.expert_feed_forward;

  ModelBuilder model(keys, std::move(config), {rope});
  model.embed();
  for (uint32_t layer = 0; layer < model.config().layers; ++layer) {
    model.attention(layer, {.window = windows[layer], .sinks = true});
    model.experts(layer, {.residual = {.norm = "post_attention_norm"},
                          .routing = routing,
                          .activation = kernels::Activation::kClampedSwiglu,
                          .width = width});
  }
  model.output();
  return model.finish();
}

}  // namespace quern::engine::models
