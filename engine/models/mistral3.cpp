// Mistral Small 3 and Ministral 3: Llama's graph, rope usually scaled by YaRN, and queries that may
// grow with their position.
#include "engine/models/builder.h"
#include "engine/models/families.h"
#include "engine/models/rope.h"

namespace quern::engine::models {

Result<Model> read_mistral3(const gguf::File& file) {
  Keys keys(file, "mistral3");
  QUERN_TRY(Config config, read_config(keys));
  QUERN_TRY(kernels::Rope rope, read_rope(keys, config, kernels::Rope::Pairs::kInterleaved));
  const kernels::QueryTemperature temperature = {
      .slope = static_cast<float>(keys.real("attention.temperature_scale", {0, 1e3}, 0.0)),
      .length = static_cast<uint32_t>(
          keys.integer("rope.scaling.original_context_length", {1, 2147483647}, config.context))};
  const kernels::Routing routing = read_routing(keys, config);

  ModelBuilder model(keys, std::move(config), {rope});
  model.embed();
  for (uint32_t layer = 0; layer < model.config().layers; ++layer) {
    model.attention(layer, {.temperature = temperature});
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
