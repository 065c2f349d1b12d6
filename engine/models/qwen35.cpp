// Qwen3.5, dense and with experts ("qwen35moe") (Qwen team 2026): three layers of gated delta nets,
// then one with attention, whose output has a gate; turns of a text are those of ordinary rope.
#include "engine/models/builder.h"
#include "engine/models/families.h"
#include "engine/models/rope.h"

namespace quern::engine::models {
namespace {

// Whether a layer is recurrent: all but every `full_attention_interval`-th, or as the file says.
std::vector<uint64_t> read_recurrent_layers(Keys& keys, uint32_t layers) {
  const auto interval = keys.integer("full_attention_interval", {1, 1024}, 4);
  if (keys.is_array("attention.recurrent_layers")) {
    return keys.per_layer("attention.recurrent_layers", layers, {0, 1});
  }
  std::vector<uint64_t> recurrent;
  for (uint32_t layer = 0; layer < layers; ++layer) {
    recurrent.push_back((layer + 1) % interval != 0);
  }
  return recurrent;
}

// Pairs take three axes in turn, and in a text all three are the position; a pair that none of the
// sections has would not turn at all.
void check_sections(Keys& keys, const Config& config) {
  const std::string key = config.architecture + ".rope.dimension_sections";
  const gguf::Value* sections = keys.file().find(key);
  if (!sections) return;
  for (uint32_t pair = 0; pair < config.rope_dimensions / 2; ++pair) {
    const auto section = pair % 3 < sections->size() ? sections->u64_at(pair % 3) : std::nullopt;
    if (section && pair < 3 * *section) continue;
    return keys.reject("key-range", "rope.dimension_sections",
                       "key " + escape(key) + " does not cover all turned values");
  }
}

ModelBuilder::DeltaNetOptions read_delta_net(Keys& keys) {
  const auto size = [&](const char* key, Keys::Range range) {
    return static_cast<uint32_t>(keys.integer(key, range));
  };
  const ModelBuilder::DeltaNetOptions net{.key_heads = size("ssm.group_count", {1, 1024}),
                                          .value_heads = size("ssm.time_step_rank", {1, 1024}),
                                          .width = size("ssm.state_size", {4, 1024}),
                                          .taps = size("ssm.conv_kernel", kTaps)};
  const uint64_t inner = keys.integer("ssm.inner_size", {1, 1 << 20});
  if (inner != uint64_t{net.value_heads} * net.width || net.width % 4 ||
      net.value_heads % net.key_heads) {
    keys.reject("key-range", "ssm.inner_size",
                "ssm keys do not agree: inner_size must be time_step_rank times state_size, a "
                "multiple of 4, and group_count must divide time_step_rank");
  }
  return net;
}

Result<Model> read_qwen35_graph(const gguf::File& file, const char* architecture) {
  Keys keys(file, architecture);
  QUERN_TRY(Config config, read_config(keys));
  QUERN_TRY(kernels::Rope rope, read_rope(keys, config, kernels::Rope::Pairs::kHalves));
  check_sections(keys, config);
  const std::vector<uint64_t> recurrent = read_recurrent_layers(keys, config.layers);
  config.layers -= static_cast<uint32_t>(
      keys.integer("nextn_predict_layers", {0, static_cast<double>(config.layers - 1)}, 0));
  const ModelBuilder::DeltaNetOptions net = read_delta_net(keys);
  const kernels::Routing routing = read_routing(keys, config);
  const auto shared =
      static_cast<uint32_t>(keys.integer("expert_shared_feed_forward_length", {0, 1 << 20}, 0));
  const uint32_t width = config.expert_feed_forward;

  ModelBuilder model(keys, std::move(config), {rope});
  model.embed();
  for (uint32_t layer = 0; layer < model.config().layers; ++layer) {
    if (recurrent[layer]) {
      model.delta_net(layer, net);
    } else {
      model.attention(layer, {.qk_norm = kernels::HeadNorm::Over::kEachHead, .gated = true});
    }
    const ModelBuilder::Residual residual = {.norm = "post_attention_norm"};
    if (model.config().experts > 0) {
      model.experts(layer, {.residual = residual,
                            .routing = routing,
                            .width = width,
                            .shared_width = shared,
                            .shared_gate = shared > 0});
    } else {
      model.feed_forward(layer, {.residual = residual});
    }
  }
  model.output();
  return model.finish();
}

}  // namespace

Result<Model> read_qwen35(const gguf::File& file) { return read_qwen35_graph(file, "qwen35"); }

Result<Model> read_qwen35moe(const gguf::File& file) {
  return read_qwen35_graph(file, "qwen35moe");
}

}  // namespace quern::engine::models
