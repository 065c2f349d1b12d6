// Qwen2 and Qwen2.5 (Yang et al. 2024): Llama's graph with rope over halves and biases on q, k and
// v, which bind where the file has them.
#include "engine/models/builder.h"
#include "engine/models/families.h"
#include "engine/models/rope.h"

namespace quern::engine::models {

Result<Model> read_qwen2(const gguf::File& file) {
  Keys keys(file, "qwen2");
  QUERN_TRY(Config config, read_config(keys));
  QUERN_TRY(kernels::Rope rope, read_rope(keys, config, kernels::Rope::Pairs::kHalves));

  ModelBuilder model(keys, std::move(config), {rope});
  model.embed();
  for (uint32_t layer = 0; layer < model.config().layers; ++layer) {
    model.attention(layer, {});
    model.feed_forward(layer, {});
  }
  model.output();
  return model.finish();
}

}  // namespace quern::engine::models
