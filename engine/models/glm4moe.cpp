// GLM-4.5 (GLM team 2025): a few dense layers, then experts behind sigmoids, with a bias for their
// choice and a shared one. "post_attention_norm" is the norm before the feed-forward; layers that
// predict further tokens are left out.
#include "engine/models/builder.h"
#include "engine/models/families.h"
#include "engine/models/rope.h"

namespace quern::engine::models {

Result<Model> read_glm4moe(const gguf::File& file) {
  Keys keys(file, "glm4moe");
  QUERN_TRY(Config config, read_config(keys));
  QUERN_TRY(kernels::Rope rope, read_rope(keys, config, kernels::Rope::Pairs::kHalves));
  config.layers -= static_cast<uint32_t>(
      keys.integer("nextn_predict_layers", {0, static_cast<double>(config.layers - 1)}, 0));
  const auto dense = static_cast<uint32_t>(keys.integer("leading_dense_block_count", {0, 1024}, 0));
  const kernels::Routing routing =
      read_routing(keys, config,
                   {.gate = kernels::Routing::Gate::kSigmoid,
                    .normalized = keys.flag("expert_weights_norm", false)});
  const uint32_t width = config.expert_feed_forward;
  const auto shared =
      width * static_cast<uint32_t>(keys.integer("expert_shared_count", {0, 64}, 0));

  ModelBuilder model(keys, std::move(config), {rope});
  model.embed();
  for (uint32_t layer = 0; layer < model.config().layers; ++layer) {
    ModelBuilder::AttentionOptions attention;
    if (model.layer_has(layer, "attn_q_norm.weight")) {
      attention.qk_norm = kernels::HeadNorm::Over::kEachHead;
    }
    model.attention(layer, attention);
    const ModelBuilder::Residual residual = {.norm = "post_attention_norm"};
    if (layer < dense) {
      model.feed_forward(layer, {.residual = residual});
    } else {
      model.experts(
          layer,
          {.residual = residual, .routing = routing, .width = width, .shared_width = shared});
    }
  }
  model.output();
  return model.finish();
}

}  // namespace quern::engine::models
