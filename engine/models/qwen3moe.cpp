// Qwen3 with experts (Yang et al. 2025): Qwen3's attention, experts in every layer.
#include "engine/models/builder.h"
#include "engine/models/families.h"
#include "engine/models/rope.h"

namespace quern::engine::models {

Result<Model> read_qwen3moe(const gguf::File& file) {
  Keys keys(file, "qwen3moe");
  QUERN_TRY(Config config, read_config(keys));
  QUERN_TRY(kernels::Rope rope, read_rope(keys, config, kernels::Rope::Pairs::kHalves));
  const kernels::Routing routing = read_routing(keys, config);
  const uint32_t width = config.expert_feed_forward;

  ModelBuilder model(keys, std::move(config), {rope});
  model.embed();
  for (uint32_t layer = 0; layer < model.config().layers; ++layer) {
    model.attention(layer, {.qk_norm = kernels::HeadNorm::Over::kEachHead});
    model.experts(layer, {.routing = routing, .width = width});
  }
  model.output();
  return model.finish();
}

}  // namespace quern::engine::models
