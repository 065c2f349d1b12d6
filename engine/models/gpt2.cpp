// GPT-2 (Radford et al. 2019): learned positions instead of rope, layer norms, biases everywhere, a
// plain feed-forward with gelu.
#include "engine/models/builder.h"
#include "engine/models/families.h"

namespace quern::engine::models {

Result<Model> read_gpt2(const gguf::File& file) {
  Keys keys(file, "gpt2");
  QUERN_TRY(Config config, read_config(keys, kernels::Norm::Kind::kLayer));

  ModelBuilder model(keys, std::move(config), {});
  model.embed(1, true);
  for (uint32_t layer = 0; layer < model.config().layers; ++layer) {
    model.attention(layer, {.rope = kernels::kAbsent});
    model.feed_forward(layer, {.activation = kernels::Activation::kGelu, .gated = false});
  }
  model.output();
  return model.finish();
}

}  // namespace quern::engine::models
