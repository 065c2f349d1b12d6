// Qwen3, dense (Yang et al. 2025): rope over halves, RMSNorm of every head of q and k, head width
// apart from the embedding.
#include "engine/models/builder.h"
#include "engine/models/families.h"
#include "engine/models/rope.h"

namespace quern::engine::models {

Result<Model> read_qwen3(const gguf::File& file) {
  Keys keys(file, "qwen3");
  QUERN_TRY(Config config, read_config(keys));
  QUERN_TRY(kernels::Rope rope, read_rope(keys, config, kernels::Rope::Pairs::kHalves));

  ModelBuilder model(keys, std::move(config), {rope});
  model.embed();
  for (uint32_t layer = 0; layer < model.config().layers; ++layer) {
    model.attention(layer, {.qk_norm = kernels::HeadNorm::Over::kEachHead});
    model.feed_forward(layer, {});
  }
  model.output();
  return model.finish();
}

}  // namespace quern::engine::models
