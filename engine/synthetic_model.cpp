#include "engine/synthetic_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <string>

#include "kernels/random_weights.h"

namespace quern::engine {
namespace {

constexpr std::array kShapes = {
    SyntheticShape{"tiny", "llama", 2, 256, 512, 8, 2, 32, 96, 2048, 10000},
    SyntheticShape{"tiny-moe", "llama", 2, 256, 256, 8, 2, 32, 96, 2048, 10000, false, 8, 2},
    SyntheticShape{"qwen2-0.5b", "qwen2", 24, 896, 4864, 14, 2, 64, 151936, 32768, 1000000, true},
    SyntheticShape{"qwen3-0.6b", "qwen3", 28, 1024, 3072, 16, 8, 128, 151936, 40960, 1000000, true},
    SyntheticShape{"llama-1b", "llama", 16, 2048, 8192, 32, 8, 64, 128256, 131072, 500000, true},
    SyntheticShape{"qwen2-1.5b", "qwen2", 28, 1536, 8960, 12, 2, 128, 151936, 32768, 1000000, true},
    SyntheticShape{"qwen3-1.7b", "qwen3", 28, 2048, 6144, 16, 8, 128, 151936, 40960, 1000000, true},
    SyntheticShape{"llama-3b", "llama", 28, 3072, 8192, 24, 8, 128, 128256, 131072, 500000, true},
    SyntheticShape{"llama-7b", "llama", 32, 4096, 11008, 32, 32, 128, 32000, 4096, 10000},
    SyntheticShape{"llama-8b", "llama", 32, 4096, 14336, 32, 8, 128, 128256, 131072, 500000},
    SyntheticShape{"qwen3-4b", "qwen3", 36, 2560, 9728, 32, 8, 128, 151936, 40960, 1000000, true},
    SyntheticShape{"qwen3-8b", "qwen3", 36, 4096, 12288, 32, 8, 128, 151936, 40960, 1000000},
    SyntheticShape{"mixtral-8x7b", "llama", 32, 4096, 14336, 32, 8, 128, 32000, 32768, 1000000,
                   false, 8, 2},
    // Real layers, but fewer of them: named after the whole model and their number.
    SyntheticShape{"qwen3-30b-a3b-6", "qwen3moe", 6, 2048, 768, 32, 4, 128, 151936, 40960, 1000000,
                   false, 128, 8},
    SyntheticShape{"gpt-oss-20b-4", "gpt-oss", 4, 2880, 2880, 64, 8, 64, 201088, 131072, 150000,
                   false, 32, 4, 128},
    SyntheticShape{"gemma3-1b", "gemma3", 26, 1152, 6912, 4, 1, 256, 262144, 32768, 1000000, true,
                   0, 0, 512},
    // A hybrid in the manner of Qwen3.5: three delta nets, then one attention.
    SyntheticShape{"tiny-hybrid", "qwen35", 4, 256, 512, 4, 2, 64, 96, 2048, 10000},
    SyntheticShape{"hybrid-1b", "qwen35", 24, 1536, 4608, 8, 2, 256, 151936, 32768, 10000000, true},
    SyntheticShape{"gpt-oss-20b", "gpt-oss", 24, 2880, 2880, 64, 8, 64, 201088, 131072, 150000,
                   false, 32, 4, 128},
    SyntheticShape{"qwen3-30b-a3b", "qwen3moe", 48, 2048, 768, 32, 4, 128, 151936, 40960, 1000000,
                   false, 128, 8},
    SyntheticShape{"llama-70b", "llama", 80, 8192, 28672, 64, 8, 128, 128256, 131072, 500000},
};

struct Tensor {
  std::string name;
  std::vector<uint64_t> shape;  // innermost first
};

bool any_of(std::string_view name, std::initializer_list<std::string_view> names) {
  return std::ranges::find(names, name) != names.end();
}

// The delta nets of a hybrid: as many heads as attention's queries would fill with 128 values.
struct DeltaNet {
  explicit DeltaNet(const SyntheticShape& s)
      : width(std::min<uint32_t>(128, s.head_width)), heads(s.heads * s.head_width / width) {}
  static constexpr uint32_t kTaps = 4, kInterval = 4;
  uint32_t width, heads;
};

using Add = std::function<void(const char* stem, std::vector<uint64_t> shape)>;

void add_delta_net(const SyntheticShape& s, const Add& add) {
  const DeltaNet net(s);
  const uint64_t inner = uint64_t{net.heads} * net.width;
  add("attn_qkv.weight", {s.embedding, 3 * inner});
  add("attn_gate.weight", {s.embedding, inner});
  add("ssm_conv1d.weight", {DeltaNet::kTaps, 3 * inner});
  add("ssm_alpha.weight", {s.embedding, net.heads});
  add("ssm_beta.weight", {s.embedding, net.heads});
  add("ssm_dt.bias", {net.heads});
  add("ssm_a", {net.heads});
  add("ssm_norm.weight", {net.width});
  add("ssm_out.weight", {inner, s.embedding});
}

void add_attention(const SyntheticShape& s, const Add& add) {
  const std::string_view family = s.architecture;
  const uint64_t width = s.embedding, q = uint64_t{s.heads} * s.head_width;
  const uint64_t kv = uint64_t{s.kv_heads} * s.head_width;
  add("attn_q.weight", {width, family == "qwen35" ? 2 * q : q});
  add("attn_k.weight", {width, kv});
  add("attn_v.weight", {width, kv});
  add("attn_output.weight", {q, width});
  if (any_of(family, {"qwen2", "gpt-oss"})) {
    add("attn_q.bias", {q});
    add("attn_k.bias", {kv});
    add("attn_v.bias", {kv});
  }
  if (family == "gpt-oss") {
    add("attn_output.bias", {width});
    add("attn_sinks.weight", {s.heads});
  }
  if (any_of(family, {"qwen3", "qwen3moe", "gemma3", "qwen35"})) {
    add("attn_q_norm.weight", {s.head_width});
    add("attn_k_norm.weight", {s.head_width});
  }
}

void add_feed_forward(const SyntheticShape& s, const Add& add) {
  const uint64_t width = s.embedding, hidden = s.feed_forward;
  if (s.experts == 0) {
    add("ffn_gate.weight", {width, hidden});
    add("ffn_up.weight", {width, hidden});
    add("ffn_down.weight", {hidden, width});
    return;
  }
  add("ffn_gate_inp.weight", {width, s.experts});
  add("ffn_gate_exps.weight", {width, hidden, s.experts});
  add("ffn_up_exps.weight", {width, hidden, s.experts});
  add("ffn_down_exps.weight", {hidden, width, s.experts});
  if (s.architecture != "gpt-oss") return;
  add("ffn_gate_inp.bias", {s.experts});
  add("ffn_gate_exps.bias", {hidden, s.experts});
  add("ffn_up_exps.bias", {hidden, s.experts});
  add("ffn_down_exps.bias", {width, s.experts});
}

// The norm before the feed-forward, and those after attention and it.
void add_other_norms(const SyntheticShape& s, const Add& add) {
  const bool after = any_of(s.architecture, {"gpt-oss", "qwen35", "gemma3"});
  if (after) add("post_attention_norm.weight", {s.embedding});
  if (!after || s.architecture == "gemma3") add("ffn_norm.weight", {s.embedding});
  if (s.architecture == "gemma3") add("post_ffw_norm.weight", {s.embedding});
}

std::vector<Tensor> tensors_of(const SyntheticShape& s) {
  const uint64_t width = s.embedding;
  std::vector<Tensor> tensors = {{"token_embd.weight", {width, s.vocabulary}},
                                 {"output_norm.weight", {width}}};
  if (!s.tied) tensors.push_back({"output.weight", {width, s.vocabulary}});
  for (uint32_t layer = 0; layer < s.layers; ++layer) {
    const Add add = [&](const char* stem, std::vector<uint64_t> shape) {
      tensors.push_back({fmt::format("blk.{}.{}", layer, stem), std::move(shape)});
    };
    add("attn_norm.weight", {width});
    if (s.architecture == "qwen35" && (layer + 1) % DeltaNet::kInterval != 0) {
      add_delta_net(s, add);
    } else {
      add_attention(s, add);
    }
    add_other_norms(s, add);
    add_feed_forward(s, add);
  }
  return tensors;
}

void set_metadata(const SyntheticShape& s, const Mix& mix, uint64_t seed, gguf::Writer& writer) {
  using Scalar = gguf::Writer::Scalar;
  const auto set = [&](const char* key, Scalar value) {
    writer.set(fmt::format("{}.{}", s.architecture, key), std::move(value));
  };
  writer.set("general.architecture", Scalar(std::string(s.architecture)));
  writer.set("general.name",
             Scalar(fmt::format("synthetic {} {} seed {}", s.name, mix.name, seed)));
  writer.set("general.file_type", Scalar(mix.file_type));
  writer.set("general.quantization_version", Scalar(uint32_t{2}));
  set("block_count", s.layers);
  set("context_length", s.context);
  set("embedding_length", s.embedding);
  set("feed_forward_length", s.feed_forward);
  set("attention.head_count", s.heads);
  set("attention.head_count_kv", s.kv_heads);
  set("attention.key_length", s.head_width);
  set("attention.value_length", s.head_width);
  set("attention.layer_norm_rms_epsilon", 1e-5f);
  set("rope.dimension_count", s.architecture == "qwen35" ? s.head_width / 4 : s.head_width);
  set("rope.freq_base", s.rope_base);
  set("vocab_size", s.vocabulary);
  if (s.experts > 0) {
    set("expert_count", s.experts);
    set("expert_used_count", s.experts_used);
    if (s.architecture != "llama") set("expert_feed_forward_length", s.feed_forward);
  }
  if (s.window > 0) set("attention.sliding_window", s.window);
  if (s.architecture == "gpt-oss") {
    set("rope.scaling.type", std::string("yarn"));
    set("rope.scaling.factor", 32.0f);
    set("rope.scaling.original_context_length", uint32_t{4096});
  }
  if (s.architecture == "qwen35") {
    const DeltaNet net(s);
    set("full_attention_interval", DeltaNet::kInterval);
    set("ssm.state_size", net.width);
    set("ssm.group_count", net.heads);
    set("ssm.time_step_rank", net.heads);
    set("ssm.inner_size", net.heads * net.width);
    set("ssm.conv_kernel", DeltaNet::kTaps);
    const auto pairs = static_cast<int32_t>(s.head_width / 8);  // taken by three axes in turn
    writer.set(
        fmt::format("{}.rope.dimension_sections", s.architecture),
        gguf::Writer::Array(std::vector<int32_t>{(pairs + 2) / 3, (pairs + 1) / 3, pairs / 3, 0}));
  }
  writer.set("tokenizer.ggml.model", Scalar(std::string("no_vocab")));
}

// Norms are ones, biases zeros, recurrent states halve in a few steps; a matrix keeps the size of
// what it is multiplied with.
Status fill(const Tensor& tensor, gguf::Format format, uint64_t seed, std::span<std::byte> out) {
  if (tensor.shape.size() > 1 && !tensor.name.ends_with(".bias")) {
    const auto deviation = 1.0f / std::sqrt(static_cast<float>(tensor.shape[0]));
    kernels::random_weights(format, deviation, seed, out);
    return {};
  }
  const float value = tensor.name.ends_with(".bias")   ? 0
                      : tensor.name.ends_with("ssm_a") ? -0.5f
                                                       : 1;
  for (size_t i = 0; i < out.size(); i += sizeof value) std::memcpy(&out[i], &value, sizeof value);
  return {};
}

}  // namespace

std::span<const SyntheticShape> synthetic_shapes() { return kShapes; }

const SyntheticShape* find_synthetic_shape(std::string_view name) {
  const auto shape = std::ranges::find(kShapes, name, &SyntheticShape::name);
  return shape == kShapes.end() ? nullptr : &*shape;
}

gguf::Writer synthetic_model(const SyntheticShape& shape, const Mix& mix, uint64_t seed) {
  const std::vector<Tensor> tensors = tensors_of(shape);
  std::vector<MixTensor> subjects;
  for (const Tensor& tensor : tensors) {
    MixTensor subject{tensor.name, {1, 1, 1, 1}};
    std::ranges::copy(tensor.shape, subject.shape.begin());
    subjects.push_back(subject);
  }
  const auto formats = apply_mix(mix,
                                 {.architecture = shape.architecture,
                                  .layers = shape.layers,
                                  .queries_per_key = shape.heads / shape.kv_heads,
                                  .experts = shape.experts},
                                 subjects);
  gguf::Writer writer;
  set_metadata(shape, mix, seed, writer);
  for (size_t i = 0; i < tensors.size(); ++i) {
    const gguf::Format format = formats[i].value_or(gguf::Format::F32);
    // Every tensor has its own stream, so that one more layer changes no other tensor.
    writer.add_tensor(tensors[i].name, format, tensors[i].shape,
                      [tensor = tensors[i], format, seed = seed + i](std::span<std::byte> out) {
                        return fill(tensor, format, seed, out);
                      });
  }
  return writer;
}

}  // namespace quern::engine
