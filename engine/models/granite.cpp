// Granite 3 (IBM 2024), dense and with experts ("granitemoe"): Llama's graph with scales of its own
// for embedding, branches, scores and logits.
#include "engine/models/builder.h"
#include "engine/models/families.h"
#include "engine/models/rope.h"

namespace quern::engine::models {
namespace {

Result<Model> read_granite_graph(const gguf::File& file, const char* architecture) {
  Keys keys(file, architecture);
  QUERN_TRY(Config config, read_config(keys));
  QUERN_TRY(kernels::Rope rope, read_rope(keys, config, kernels::Rope::Pairs::kInterleaved));
  const auto scale = [&](const char* key, double fallback) {
    const auto value = static_cast<float>(keys.real(key, {0, 1e6}, fallback));
    return value == 0 ? static_cast<float>(fallback) : value;
  };
  const float embedding = scale("embedding_scale", 1), branch = scale("residual_scale", 1);
  const float scores = scale("attention.scale", 0), logits = scale("logit_scale", 1);
  const uint32_t rope_index = keys.flag("rope.scaling.finetuned", true) ? 0 : kernels::kAbsent;
  const kernels::Routing routing = read_routing(keys, config);
  const auto shared =
      static_cast<uint32_t>(keys.integer("expert_shared_feed_forward_length", {0, 1 << 20}, 0));

  ModelBuilder model(keys, std::move(config), {rope});
  model.embed(embedding);
  for (uint32_t layer = 0; layer < model.config().layers; ++layer) {
    model.attention(
        layer,
        {.residual = {.norm = "attn_norm", .scale = branch}, .rope = rope_index, .scale = scores});
    const ModelBuilder::Residual residual = {.norm = "ffn_norm", .scale = branch};
    if (model.config().experts > 0) {
      model.experts(layer, {.residual = residual, .routing = routing, .shared_width = shared});
    } else {
      model.feed_forward(layer, {.residual = residual});
    }
  }
  model.output(1 / logits);
  return model.finish();
}

}  // namespace

Result<Model> read_granite(const gguf::File& file) { return read_granite_graph(file, "granite"); }

Result<Model> read_granitemoe(const gguf::File& file) {
  return read_granite_graph(file, "granitemoe");
}

}  // namespace quern::engine::models
