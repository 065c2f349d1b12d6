#include "engine/models/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace quern::engine::models {
namespace {

constexpr Keys::Range kHeads = {1, 4096};
constexpr Keys::Range kWidth = {1, 1 << 20};

// Rows of the output matrix, or of the embedding it is tied to.
Result<uint32_t> read_vocabulary(const gguf::File& file) {
  const gguf::TensorView* tensor = file.find_tensor("output.weight");
  if (!tensor) tensor = file.find_tensor("token_embd.weight");
  if (tensor && tensor->shape[1] <= 1 << 24) return static_cast<uint32_t>(tensor->shape[1]);
  auto error = tensor ? bad_input("tensor-shape",
                                  fmt::format("tensor {} has {} rows, at most {} are allowed",
                                              escape(tensor->name), tensor->shape[1], 1 << 24))
                      : bad_input("tensor-missing", "missing tensor \"token_embd.weight\"");
  error.value().path = file.path();
  return error;
}

}  // namespace

Result<Config> read_config(Keys& keys, kernels::Norm::Kind norm, Layers layers) {
  Config config{};
  config.architecture = keys.architecture();
  config.norm = norm;
  config.layers = static_cast<uint32_t>(keys.integer("block_count", {1, 1024}));
  config.context = static_cast<uint32_t>(keys.integer("context_length", {1, 2147483647}));
  config.embedding = static_cast<uint32_t>(keys.integer("embedding_length", kWidth));
  const char* epsilon = norm == kernels::Norm::Kind::kRms ? "attention.layer_norm_rms_epsilon"
                                                          : "attention.layer_norm_epsilon";
  config.norm_epsilon = static_cast<float>(keys.real(epsilon, {1e-30, 1}));
  config.heads = keys.per_layer("attention.head_count", config.layers, kHeads);
  config.kv_heads = keys.per_layer("attention.head_count_kv", config.layers,
                                   layers == Layers::kHybrid ? Keys::Range{0, kHeads.max} : kHeads,
                                   config.heads[0]);
  config.feed_forward = keys.per_layer("feed_forward_length", config.layers, kWidth);
  const uint64_t head_width = std::max<uint64_t>(1, config.embedding / config.heads[0]);
  config.key_length =
      static_cast<uint32_t>(keys.integer("attention.key_length", kHeads, head_width));
  config.value_length =
      static_cast<uint32_t>(keys.integer("attention.value_length", kHeads, head_width));
  config.rope_dimensions = static_cast<uint32_t>(keys.integer(
      "rope.dimension_count", {2, static_cast<double>(config.key_length)}, config.key_length));
  config.experts = static_cast<uint32_t>(keys.integer("expert_count", {0, 4096}, 0));
  config.experts_used = static_cast<uint32_t>(
      keys.integer("expert_used_count", {0, static_cast<double>(config.experts)}, 0));
  config.expert_feed_forward =
      static_cast<uint32_t>(keys.integer("expert_feed_forward_length", {0, kWidth.max}, 0));
  if (config.rope_dimensions % 2) {
    keys.reject("key-range", "rope.dimension_count",
                fmt::format("rope dimension count {} is odd", config.rope_dimensions));
  }
  if ((config.experts > 0) != (config.experts_used > 0)) {
    keys.reject("key-range", "expert_used_count",
                fmt::format("{} of {} experts used", config.experts_used, config.experts));
  }
  for (uint32_t layer = 0; layer < config.layers; ++layer) {
    if (config.kv_heads[layer] > 0 && config.heads[layer] % config.kv_heads[layer]) {
      keys.reject("key-range", "attention.head_count_kv",
                  fmt::format("{} key/value heads do not divide {} heads (layer {})",
                              config.kv_heads[layer], config.heads[layer], layer));
    }
  }
  QUERN_CHECK(keys.status());
  QUERN_TRY(config.vocabulary, read_vocabulary(keys.file()));
  return config;
}

std::vector<uint32_t> read_windows(Keys& keys, uint32_t layers, uint32_t period,
                                   std::optional<uint64_t> fallback) {
  const auto window =
      static_cast<uint32_t>(keys.integer("attention.sliding_window", {0, 2147483647}, fallback));
  const char* pattern = "attention.sliding_window_pattern";
  std::vector<uint64_t> windowed;
  if (keys.is_array(pattern)) {
    windowed = keys.per_layer(pattern, layers, {0, 1});
  } else {
    period = static_cast<uint32_t>(keys.integer(pattern, {0, 1024}, period));
    for (uint32_t l = 0; l < layers; ++l)
      windowed.push_back(period == 0 || l % period < period - 1);
  }
  std::vector<uint32_t> windows;
  for (const uint64_t flag : windowed) windows.push_back(flag ? window : 0);
  return windows;
}

float score_scale_of_embedding(const Config& config) {
  return 1 / std::sqrt(static_cast<float>(config.embedding) / static_cast<float>(config.heads[0]));
}

kernels::Routing read_routing(Keys& keys, const Config& config, kernels::Routing routing) {
  using Gate = kernels::Routing::Gate;
  // 3, a softmax over the chosen experts, is a softmax over all of them, normalized.
  const uint64_t gate =
      keys.integer("expert_gating_func", {0, 3}, routing.gate == Gate::kSoftmax ? 1 : 2);
  if (gate > 0) routing.gate = gate == 2 ? Gate::kSigmoid : Gate::kSoftmax;
  if (gate == 3) routing.normalized = true;
  const double scale = keys.real("expert_weights_scale", {0, 1e6}, 0.0);
  if (scale != 0) routing.scale = static_cast<float>(scale);
  routing.groups =
      std::max(1u, static_cast<uint32_t>(keys.integer(
                       "expert_group_count", {0, static_cast<double>(config.experts)}, 1)));
  routing.groups_used = static_cast<uint32_t>(keys.integer(
      "expert_group_used_count", {0, static_cast<double>(routing.groups)}, routing.groups));
  if (routing.groups > 1 &&
      (config.experts % routing.groups || routing.groups_used == 0 ||
       config.experts / routing.groups * routing.groups_used < config.experts_used)) {
    keys.reject("key-range", "expert_group_count",
                fmt::format("{} of {} groups cannot hold {} of {} experts", routing.groups_used,
                            routing.groups, config.experts_used, config.experts));
  }
  return routing;
}

}  // namespace quern::engine::models
