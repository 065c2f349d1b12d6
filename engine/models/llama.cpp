// Llama (Touvron et al. 2023) and what shares its graph: Llama 2 and 3, Mistral 7B, Yi, TinyLlama,
// and with a router Mixtral. Pre-norm decoder, rope over interleaved pairs.
#include "engine/models/builder.h"
#include "engine/models/families.h"
#include "engine/models/rope.h"

namespace quern::engine::models {

Result<Model> read_llama(const gguf::File& file) {
  Keys keys(file, "llama");
  QUERN_TRY(Config config, read_config(keys));
  QUERN_TRY(kernels::Rope rope, read_rope(keys, config, kernels::Rope::Pairs::kInterleaved));
  const auto scale = static_cast<float>(keys.real("attention.scale", {0, 1e3}, 0.0));
  const kernels::Routing routing = read_routing(keys, config);

  ModelBuilder model(keys, std::move(config), {rope});
  model.embed();
  for (uint32_t layer = 0; layer < model.config().layers; ++layer) {
    model.attention(layer, {.scale = scale});
    if (model.config().experts > 0) {
      model.experts(layer, {.routing = routing});
    } else {
      model.feed_forward(layer, {});
    }
  }
  model.output();
  return model.finish();
}

}  // namespace quern::engine::models
