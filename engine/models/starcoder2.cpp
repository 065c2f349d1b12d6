// StarCoder 2 (Lozhkov et al. 2024): layer norms and biases everywhere, a plain feed-forward with
// gelu.
#include "engine/models/builder.h"
#include "engine/models/families.h"
#include "engine/models/rope.h"

namespace quern::engine::models {

Result<Model> read_starcoder2(const gguf::File& file) {
  Keys keys(file, "starcoder2");
  QUERN_TRY(Config config, read_config(keys, kernels::Norm::Kind::kLayer));
  QUERN_TRY(kernels::Rope rope, read_rope(keys, config, kernels::Rope::Pairs::kHalves));

  ModelBuilder model(keys, std::move(config), {rope});
  model.embed();
  for (uint32_t layer = 0; layer < model.config().layers; ++layer) {
    model.attention(layer, {});
    model.feed_forward(layer, {.activation = kernels::Activation::kGelu, .gated = false});
  }
  model.output();
  return model.finish();
}

}  // namespace quern::engine::models
