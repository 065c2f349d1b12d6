// Qwen1.5-MoE and Qwen2-MoE (Yang et al. 2024): Qwen2's attention; the shares of the chosen experts
// are not divided by their sum, and one more expert, behind a gate of its own, sees every token.
#include "engine/models/builder.h"
#include "engine/models/families.h"
#include "engine/models/rope.h"

namespace quern::engine::models {

Result<Model> read_qwen2moe(const gguf::File& file) {
  Keys keys(file, "qwen2moe");
  QUERN_TRY(Config config, read_config(keys));
  QUERN_TRY(kernels::Rope rope, read_rope(keys, config, kernels::Rope::Pairs::kHalves));
  const kernels::Routing routing = read_routing(keys, config, {.normalized = false});
  const auto shared = static_cast<uint32_t>(
      keys.integer("expert_shared_feed_forward_length", {1, 1 << 20}, config.feed_forward[0]));
  const uint32_t width = config.expert_feed_forward;

  ModelBuilder model(keys, std::move(config), {rope});
  model.embed();
  for (uint32_t layer = 0; layer < model.config().layers; ++layer) {
    model.attention(layer, {});
    model.experts(
        layer, {.routing = routing, .width = width, .shared_width = shared, .shared_gate = true});
  }
  model.output();
  return model.finish();
}

}  // namespace quern::engine::models
