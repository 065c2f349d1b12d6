// Falcon (Almazrouei et al. 2023): attention and a plain feed-forward side by side; the 40B has a
// norm for each.
#include "engine/models/builder.h"
#include "engine/models/families.h"
#include "engine/models/rope.h"

namespace quern::engine::models {

Result<Model> read_falcon(const gguf::File& file) {
  Keys keys(file, "falcon");
  QUERN_TRY(Config config, read_config(keys, kernels::Norm::Kind::kLayer));
  QUERN_TRY(kernels::Rope rope, read_rope(keys, config, kernels::Rope::Pairs::kHalves));

  ModelBuilder model(keys, std::move(config), {rope});
  model.embed();
  for (uint32_t layer = 0; layer < model.config().layers; ++layer) {
    const char* before_attention =
        model.layer_has(layer, "attn_norm_2.weight") ? "attn_norm_2" : "attn_norm";
    model.attention(layer, {.residual = {.norm = before_attention, .parallel = true}});
    model.feed_forward(layer, {.residual = {.norm = "attn_norm", .parallel = true},
                               .activation = kernels::Activation::kGelu,
                               .gated = false});
  }
  model.output();
  return model.finish();
}

}  // namespace quern::engine::models
