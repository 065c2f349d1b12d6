// Phi-3, Phi-3.5 and Phi-4 (Abdin et al. 2024): fused q, k and v and fused gate and up, rope over
// halves with other divisors for long contexts.
#include "engine/models/builder.h"
#include "engine/models/families.h"
#include "engine/models/rope.h"

namespace quern::engine::models {

Result<Model> read_phi3(const gguf::File& file) {
  Keys keys(file, "phi3");
  QUERN_TRY(Config config, read_config(keys));
  QUERN_TRY(kernels::Rope rope, read_rope(keys, config, kernels::Rope::Pairs::kHalves));
  QUERN_TRY(LongRope long_rope, read_long_rope(keys, config, kernels::Rope::Pairs::kHalves));
  keys.integer("attention.sliding_window", {0, 2147483647}, 0);  // attention is full all the same

  ModelBuilder model(keys, std::move(config), {rope});
  model.embed();
  for (uint32_t layer = 0; layer < model.config().layers; ++layer) {
    model.attention(layer, {});
    model.feed_forward(layer, {});
  }
  model.output();
  QUERN_TRY(Model finished, model.finish());
  finished.long_rope = std::move(long_rope);
  return finished;
}

}  // namespace quern::engine::models
