// OLMo 2 (OLMo team 2024): norms after the blocks instead of before them, and over all heads of q
// and k. OLMo 3, of the same name, windows three layers of four, which have an unscaled rope.
#include "engine/models/builder.h"
#include "engine/models/families.h"
#include "engine/models/rope.h"

namespace quern::engine::models {

Result<Model> read_olmo2(const gguf::File& file) {
  Keys keys(file, "olmo2");
  QUERN_TRY(Config config, read_config(keys));
  QUERN_TRY(kernels::Rope rope, read_rope(keys, config, kernels::Rope::Pairs::kHalves));
  const bool windowed = keys.has("attention.sliding_window");
  const std::vector<uint32_t> windows =
      windowed ? read_windows(keys, config.layers, 4) : std::vector<uint32_t>(config.layers, 0);
  const double base = keys.real("rope.freq_base", {1e-3, 1e12}, 10000.0);
  kernels::Rope window_rope = read_window_rope(keys, config, kernels::Rope::Pairs::kHalves, base);

  ModelBuilder model(keys, std::move(config), {rope, window_rope});
  model.embed();
  for (uint32_t layer = 0; layer < model.config().layers; ++layer) {
    model.attention(layer, {.residual = {.norm = {}, .post_norm = "post_attention_norm"},
                            .rope = windows[layer] > 0 ? 1u : 0u,
                            .qk_norm = kernels::HeadNorm::Over::kAllHeads,
                            .window = windows[layer]});
    model.feed_forward(layer, {.residual = {.norm = {}, .post_norm = "post_ffw_norm"}});
  }
  model.output();
  return model.finish();
}

}  // namespace quern::engine::models
