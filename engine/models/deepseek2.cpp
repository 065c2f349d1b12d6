// DeepSeek V2 and V3 and their kin (DeepSeek-AI 2024): keys and values of all heads come from one
// small vector per position, which is what the cache keeps: once as key, beside what rope turns,
// and once as value. Always in the absorbed form: queries are brought to that vector, so attention
// has one key/value head, and a prompt computes what decoding does.
#include <cmath>

#include "engine/models/builder.h"
#include "engine/models/families.h"
#include "engine/models/rope.h"

namespace quern::engine::models {
namespace {

struct Latent {
  ModelBuilder::LatentOptions attention;
  kernels::Rope rope;
};

Result<Latent> read_latent(Keys& keys, const Config& config) {
  const auto size = [&](const char* key, Keys::Range range, std::optional<uint64_t> fallback) {
    return static_cast<uint32_t>(keys.integer(key, range, fallback));
  };
  Latent latent{};
  ModelBuilder::LatentOptions& to = latent.attention;
  to.latent = size("attention.kv_lora_rank", {1, 4096}, {});
  to.query_rank = size("attention.q_lora_rank", {0, 1 << 16}, 0);
  to.key_width = size("attention.key_length_mla", {1, 4096}, config.key_length);
  to.value_width = size("attention.value_length_mla", {1, 4096}, config.value_length);
  to.rope_width = config.rope_dimensions;
  if (to.rope_width >= to.key_width) {
    keys.reject("key-range", "rope.dimension_count",
                "rope.dimension_count must be less than the width of a key");
  }
  QUERN_TRY(latent.rope, read_rope(keys, config, kernels::Rope::Pairs::kInterleaved));
  // The key holds a tenth of the multiplier, and scores grow with its square instead of rope.
  const double multiplier = keys.real("rope.scaling.yarn_log_multiplier", {0, 1e3}, 0.0);
  double growth = 1;
  if (multiplier != 0) {
    growth += multiplier * std::log(std::max(1.0, keys.real("rope.scaling.factor", {0, 1e6}, 1.0)));
    latent.rope.magnitude =
        static_cast<float>(keys.real("rope.scaling.attn_factor", {0, 1e3}, 1.0));
  }
  to.scale = static_cast<float>(growth * growth / std::sqrt(static_cast<double>(to.key_width)));
  to.temperature = {
      .slope = static_cast<float>(keys.real("attention.temperature_scale", {0, 1e3}, 0.0)),
      .length = size("attention.temperature_length", {1, 2147483647}, config.context)};
  return latent;
}

}  // namespace

Result<Model> read_deepseek2(const gguf::File& file) {
  Keys keys(file, "deepseek2");
  QUERN_TRY(Config config, read_config(keys));
  QUERN_TRY(const Latent latent, read_latent(keys, config));
  // GLM-4.7-Flash and others do not name their gate.
  const bool sigmoid = (config.layers == 47 || config.layers == 48) && config.vocabulary == 154880;
  const kernels::Routing routing = read_routing(
      keys, config,
      {.gate = sigmoid ? kernels::Routing::Gate::kSigmoid : kernels::Routing::Gate::kSoftmax,
       .normalized = keys.flag("expert_weights_norm", false)});
  config.layers -= static_cast<uint32_t>(
      keys.integer("nextn_predict_layers", {0, static_cast<double>(config.layers - 1)}, 0));
  const auto dense = static_cast<uint32_t>(
      keys.integer("leading_dense_block_count", {0, 1024}, config.experts > 0 ? 0 : config.layers));
  const uint32_t width = config.expert_feed_forward;
  const auto shared =
      width * static_cast<uint32_t>(keys.integer("expert_shared_count", {0, 64}, 0));

  ModelBuilder model(keys, std::move(config), {latent.rope});
  model.embed();
  for (uint32_t layer = 0; layer < model.config().layers; ++layer) {
    model.latent_attention(layer, latent.attention);
    if (layer < dense) {
      model.feed_forward(layer, {});
    } else {
      model.experts(layer, {.routing = routing, .width = width, .shared_width = shared});
    }
  }
  model.output();
  return model.finish();
}

}  // namespace quern::engine::models
