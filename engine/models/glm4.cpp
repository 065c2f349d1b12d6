// GLM-4-0414 (GLM team 2025): Llama's graph with norms after the blocks too, rope on half of the
// head, fused gate and up.
#include "engine/models/builder.h"
#include "engine/models/families.h"
#include "engine/models/rope.h"

namespace quern::engine::models {

Result<Model> read_glm4(const gguf::File& file) {
  Keys keys(file, "glm4");
  QUERN_TRY(Config config, read_config(keys));
  QUERN_TRY(kernels::Rope rope, read_rope(keys, config, kernels::Rope::Pairs::kInterleaved));

  ModelBuilder model(keys, std::move(config), {rope});
  model.embed();
  for (uint32_t layer = 0; layer < model.config().layers; ++layer) {
    model.attention(layer, {.residual = {.norm = "attn_norm", .post_norm = "post_attention_norm"}});
    model.feed_forward(layer, {.residual = {.norm = "ffn_norm", .post_norm = "post_ffw_norm"}});
  }
  model.output();
  return model.finish();
}

}  // namespace quern::engine::models
