// StableLM (Bellagente et al. 2024): layer norms, rope on a part of the head, a norm for every head
// of q and k in some files; without ffn_norm attention and feed-forward stand side by side.
#include "engine/models/builder.h"
#include "engine/models/families.h"
#include "engine/models/rope.h"

namespace quern::engine::models {

Result<Model> read_stablelm(const gguf::File& file) {
  Keys keys(file, "stablelm");
  QUERN_TRY(Config config, read_config(keys, kernels::Norm::Kind::kLayer));
  QUERN_TRY(kernels::Rope rope, read_rope(keys, config, kernels::Rope::Pairs::kHalves));

  ModelBuilder model(keys, std::move(config), {rope});
  model.embed();
  for (uint32_t layer = 0; layer < model.config().layers; ++layer) {
    const bool parallel = !model.layer_has(layer, "ffn_norm.weight");
    ModelBuilder::HeadNorms qk_norm;
    if (model.layer_has(layer, "attn_q_norm.weight")) {
      qk_norm = kernels::HeadNorm::Over::kOwnHead;
    }
    model.attention(layer,
                    {.residual = {.norm = "attn_norm", .parallel = parallel}, .qk_norm = qk_norm});
    model.feed_forward(
        layer, {.residual = {.norm = parallel ? "attn_norm" : "ffn_norm", .parallel = parallel}});
  }
  model.output();
  return model.finish();
}

}  // namespace quern::engine::models
