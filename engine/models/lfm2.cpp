// LFM2 (Liquid AI 2025), dense and with experts ("lfm2moe"): most layers mix by a gated convolution
// over a few tokens, the others by attention; layers without key/value heads are convolutions.
#include "engine/models/builder.h"
#include "engine/models/families.h"
#include "engine/models/rope.h"

namespace quern::engine::models {
namespace {

Result<Model> read_lfm2_graph(const gguf::File& file, const char* architecture) {
  Keys keys(file, architecture);
  QUERN_TRY(Config config, read_config(keys, kernels::Norm::Kind::kRms, Layers::kHybrid));
  QUERN_TRY(kernels::Rope rope, read_rope(keys, config, kernels::Rope::Pairs::kHalves));
  const auto taps = static_cast<uint32_t>(keys.integer("shortconv.l_cache", kTaps));
  const auto dense = static_cast<uint32_t>(
      keys.integer("leading_dense_block_count", {0, 1024}, config.experts > 0 ? 0 : config.layers));
  const kernels::Routing routing =
      read_routing(keys, config, {.gate = kernels::Routing::Gate::kSigmoid});
  const uint32_t width = config.expert_feed_forward;

  ModelBuilder model(keys, std::move(config), {rope});
  model.embed();
  for (uint32_t layer = 0; layer < model.config().layers; ++layer) {
    if (model.config().kv_heads[layer] == 0) {
      model.short_conv(layer, taps);
    } else {
      model.attention(layer, {.qk_norm = kernels::HeadNorm::Over::kEachHead});
    }
    if (layer < dense) {
      model.feed_forward(layer, {});
    } else {
      model.experts(layer, {.routing = routing, .width = width});
    }
  }
  model.output(1, 0, model.has("output_norm.weight") ? "output_norm" : "token_embd_norm");
  return model.finish();
}

}  // namespace

Result<Model> read_lfm2(const gguf::File& file) { return read_lfm2_graph(file, "lfm2"); }

Result<Model> read_lfm2moe(const gguf::File& file) { return read_lfm2_graph(file, "lfm2moe"); }

}  // namespace quern::engine::models
