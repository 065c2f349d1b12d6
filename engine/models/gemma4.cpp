// Gemma 4 (Gemma team 2026): Gemma 3 with wider heads and frequency divisors on the layers without
// a window, values brought to length, scores not scaled. The small ones also give every layer a
// vector of the token itself, and their last layers read the cache of earlier ones; one has experts
// beside the dense feed-forward.
#include <cmath>

#include "engine/models/builder.h"
#include "engine/models/families.h"
#include "engine/models/rope.h"

namespace quern::engine::models {
namespace {

// Per layer: whose cache it reads. The last `shared` layers have none of their own: they read that
// of the last layer of their kind that has.
std::vector<uint32_t> cache_layers(const std::vector<uint32_t>& windows, uint32_t shared) {
  const auto own = static_cast<uint32_t>(windows.size()) - shared;
  std::vector<uint32_t> layers;
  for (uint32_t layer = 0; layer < windows.size(); ++layer) {
    uint32_t source = layer;
    if (layer >= own) {
      source = own;
      do --source;
      while (source > 0 && (windows[source] > 0) != (windows[layer] > 0));
    }
    layers.push_back(source);
  }
  return layers;
}

}  // namespace

Result<Model> read_gemma4(const gguf::File& file) {
  Keys keys(file, "gemma4");
  QUERN_TRY(Config config, read_config(keys));
  const auto size = [&](const char* key, Keys::Range range, std::optional<uint64_t> fallback) {
    return static_cast<uint32_t>(keys.integer(key, range, fallback));
  };
  const auto pairs = kernels::Rope::Pairs::kHalves;
  QUERN_TRY(kernels::Rope rope, read_rope(keys, config, pairs));
  const uint32_t narrow = size("attention.key_length_swa", {1, 4096}, config.key_length);
  const uint32_t narrow_value = size("attention.value_length_swa", {1, 4096}, narrow);
  if (narrow_value != narrow || config.value_length != config.key_length) {
    keys.reject("key-range", "attention.value_length", "keys and values must be equally wide");
  }
  Config windowed = config;
  windowed.rope_dimensions =
      size("rope.dimension_count_swa", {2, static_cast<double>(narrow)}, narrow) / 2 * 2;
  kernels::Rope window_rope = read_window_rope(keys, windowed, pairs, 10000);
  const std::vector<uint32_t> windows = read_windows(keys, config.layers, 6);
  const uint32_t shared =
      size("attention.shared_kv_layers", {0, static_cast<double>(config.layers - 1)}, 0);
  const std::vector<uint32_t> caches = cache_layers(windows, shared);
  const uint32_t inputs = size("embedding_length_per_layer_input", {0, 1 << 16}, 0);
  const float scale = std::sqrt(static_cast<float>(config.embedding));
  const auto logit_cap = static_cast<float>(keys.real("final_logit_softcapping", {0, 1e6}, 0.0));
  const uint32_t wide = config.key_length, expert_width = config.expert_feed_forward;
  const kernels::Routing routing = read_routing(keys, config);

  ModelBuilder model(keys, std::move(config), {rope, window_rope});
  model.embed(scale);
  if (inputs > 0) model.layer_inputs(inputs);
  for (uint32_t layer = 0; layer < model.config().layers; ++layer) {
    model.attention(layer, {.residual = {.norm = "attn_norm", .post_norm = "post_attention_norm"},
                            .rope = windows[layer] > 0 ? 1u : 0u,
                            .qk_norm = kernels::HeadNorm::Over::kEachHead,
                            .scale = 1,
                            .window = windows[layer],
                            .head_width = windows[layer] > 0 ? narrow : wide,
                            .normed_values = true,
                            .cache_of = caches[layer]});
    const auto activation = kernels::Activation::kGelu;
    if (model.layer_has(layer, "ffn_gate_inp.weight")) {
      model.dense_and_experts(layer,
                              {.residual = {.norm = "pre_ffw_norm_2", .post_norm = "post_ffw_norm"},
                               .routing = routing,
                               .activation = activation,
                               .width = expert_width});
    } else {
      model.feed_forward(layer, {.residual = {.norm = "ffn_norm", .post_norm = "post_ffw_norm"},
                                 .activation = activation});
    }
    if (inputs > 0) model.add_layer_input(layer, inputs);
    model.scale_layer(layer);
  }
  model.output(1, logit_cap);
  return model.finish();
}

}  // namespace quern::engine::models
