// Granite 3 (IBM 2024), dense and with experts ("granitemoe"): Llama's graph with scales of its own
// for embedding, branches, scores and logits. Granite 4 ("granitehybrid", IBM 2025): layers without
// key/value heads are Mamba-2's.
#include "engine/models/builder.h"
#include "engine/models/families.h"
#include "engine/models/rope.h"

namespace quern::engine::models {
namespace {

ModelBuilder::Mamba2Options read_mamba2(Keys& keys, float scale) {
  const auto size = [&](const char* key, Keys::Range range) {
    return static_cast<uint32_t>(keys.integer(key, range));
  };
  const uint32_t inner = size("ssm.inner_size", {1, 1 << 20});
  const uint32_t heads = size("ssm.time_step_rank", {1, 4096});
  const ModelBuilder::Mamba2Options mamba{.heads = heads,
                                          .width = inner / heads,
                                          .groups = size("ssm.group_count", {1, 4096}),
                                          .state_width = size("ssm.state_size", {4, 1024}),
                                          .taps = size("ssm.conv_kernel", kTaps),
                                          .scale = scale};
  if (inner % heads || heads % mamba.groups || mamba.state_width % 4) {
    keys.reject("key-range", "ssm.inner_size",
                "ssm keys do not agree: time_step_rank must divide inner_size, group_count must "
                "divide time_step_rank, and 4 state_size");
  }
  return mamba;
}

Result<Model> read_granite_graph(const gguf::File& file, const char* architecture, Layers layers) {
  Keys keys(file, architecture);
  QUERN_TRY(Config config, read_config(keys, kernels::Norm::Kind::kRms, layers));
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
  const auto mamba =
      layers == Layers::kHybrid ? read_mamba2(keys, branch) : ModelBuilder::Mamba2Options{};

  ModelBuilder model(keys, std::move(config), {rope});
  model.embed(embedding);
  for (uint32_t layer = 0; layer < model.config().layers; ++layer) {
    if (model.config().kv_heads[layer] == 0) {
      model.mamba2(layer, mamba);
    } else {
      model.attention(layer, {.residual = {.norm = "attn_norm", .scale = branch},
                              .rope = rope_index,
                              .scale = scores});
    }
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

Result<Model> read_granite(const gguf::File& file) {
  return read_granite_graph(file, "granite", Layers::kAttention);
}

Result<Model> read_granitemoe(const gguf::File& file) {
  return read_granite_graph(file, "granitemoe", Layers::kAttention);
}

Result<Model> read_granitehybrid(const gguf::File& file) {
  return read_granite_graph(file, "granitehybrid", Layers::kHybrid);
}

}  // namespace quern::engine::models
