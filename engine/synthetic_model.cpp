#include "engine/synthetic_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
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
    SyntheticShape{"llama-70b", "llama", 80, 8192, 28672, 64, 8, 128, 128256, 131072, 500000},
};

struct Tensor {
  std::string name;
  std::vector<uint64_t> shape;  // innermost first
};

std::vector<Tensor> tensors_of(const SyntheticShape& s) {
  const uint64_t width = s.embedding, q = uint64_t{s.heads} * s.head_width;
  const uint64_t kv = uint64_t{s.kv_heads} * s.head_width;
  std::vector<Tensor> tensors = {{"token_embd.weight", {width, s.vocabulary}},
                                 {"output_norm.weight", {width}}};
  if (!s.tied) tensors.push_back({"output.weight", {width, s.vocabulary}});
  for (uint32_t layer = 0; layer < s.layers; ++layer) {
    const auto add = [&](const char* stem, std::vector<uint64_t> shape) {
      tensors.push_back({fmt::format("blk.{}.{}", layer, stem), std::move(shape)});
    };
    add("attn_norm.weight", {width});
    add("attn_q.weight", {width, q});
    add("attn_k.weight", {width, kv});
    add("attn_v.weight", {width, kv});
    add("attn_output.weight", {q, width});
    if (s.architecture == "qwen2") {
      add("attn_q.bias", {q});
      add("attn_k.bias", {kv});
      add("attn_v.bias", {kv});
    }
    if (s.architecture == "qwen3") {
      add("attn_q_norm.weight", {s.head_width});
      add("attn_k_norm.weight", {s.head_width});
    }
    add("ffn_norm.weight", {width});
    if (s.experts > 0) {
      add("ffn_gate_inp.weight", {width, s.experts});
      add("ffn_gate_exps.weight", {width, s.feed_forward, s.experts});
      add("ffn_up_exps.weight", {width, s.feed_forward, s.experts});
      add("ffn_down_exps.weight", {s.feed_forward, width, s.experts});
    } else {
      add("ffn_gate.weight", {width, s.feed_forward});
      add("ffn_up.weight", {width, s.feed_forward});
      add("ffn_down.weight", {s.feed_forward, width});
    }
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
  set("rope.dimension_count", s.head_width);
  set("rope.freq_base", s.rope_base);
  set("vocab_size", s.vocabulary);
  if (s.experts > 0) {
    set("expert_count", s.experts);
    set("expert_used_count", s.experts_used);
  }
  writer.set("tokenizer.ggml.model", Scalar(std::string("no_vocab")));
}

// Norms are ones, biases zeros; a matrix keeps the size of what it is multiplied with.
Status fill(const Tensor& tensor, gguf::Format format, uint64_t seed, std::span<std::byte> out) {
  if (tensor.shape.size() > 1) {
    const auto deviation = 1.0f / std::sqrt(static_cast<float>(tensor.shape[0]));
    kernels::random_weights(format, deviation, seed, out);
    return {};
  }
  const float value = tensor.name.ends_with(".bias") ? 0 : 1;
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
