// A seeded random Llama in a given mix of formats, written to a file: large enough to cross tiles,
// granules and threads, small enough for a test.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "gguf/writer.h"

namespace quern::test {

struct SyntheticShape {
  uint32_t layers = 2, embedding = 256, feed_forward = 512, heads = 8, kv_heads = 2,
           vocabulary = 96;
  uint32_t context = 2048;
};

// Random bytes are valid codes in every format; only the binary16 scales need sensible values, so
// that a product of a row with unit inputs has about unit size.
inline std::vector<std::byte> random_weights(gguf::Format format, uint64_t values,
                                             std::mt19937& random) {
  std::vector<std::byte> bytes(gguf::info(format).row_bytes(values));
  if (format == gguf::Format::F32) {
    std::normal_distribution<float> normal(0, 0.1f);
    for (size_t i = 0; i < values; ++i) {
      const float value = normal(random);
      std::memcpy(&bytes[i * sizeof value], &value, sizeof value);
    }
    return bytes;
  }
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  const auto set_scales = [&](auto* block, auto&& set) {
    for (size_t i = 0; i < bytes.size() / sizeof *block; ++i) set(block[i]);
  };
  if (format == gguf::Format::Q4_K) {
    set_scales(reinterpret_cast<gguf::BlockQ4_K*>(bytes.data()), [](gguf::BlockQ4_K& block) {
      block.d = 0x0A00;     // 1.8e-4
      block.dmin = 0x15A0;  // 1.4e-3: the mean code is 7.5
    });
  } else if (format == gguf::Format::Q6_K) {
    set_scales(reinterpret_cast<gguf::BlockQ6_K*>(bytes.data()),
               [](gguf::BlockQ6_K& block) { block.d = 0x0280; });  // 3.8e-5
  }
  return bytes;
}

// The Q4_K_M mix: Q6_K for the output, attn_v and ffn_down, Q4_K for the rest.
inline Status write_synthetic_q4_k_m(const std::string& path, const SyntheticShape& shape,
                                     uint32_t seed) {
  std::mt19937 random(seed);
  gguf::Writer writer;
  const auto set = [&](const char* key, uint32_t value) {
    writer.set(std::string("llama.") + key, gguf::Writer::Scalar(value));
  };
  writer.set("general.architecture", gguf::Writer::Scalar(std::string("llama")));
  writer.set("tokenizer.ggml.model", gguf::Writer::Scalar(std::string("no_vocab")));
  set("block_count", shape.layers);
  set("context_length", shape.context);
  set("embedding_length", shape.embedding);
  set("feed_forward_length", shape.feed_forward);
  set("attention.head_count", shape.heads);
  set("attention.head_count_kv", shape.kv_heads);
  writer.set("llama.attention.layer_norm_rms_epsilon", gguf::Writer::Scalar(1e-5f));

  using gguf::Format;
  const auto matrix = [&](const std::string& name, Format format, uint64_t in, uint64_t out) {
    writer.add_tensor(name, format, {in, out}, random_weights(format, in * out, random));
  };
  const auto norm = [&](const std::string& name) {
    std::vector<std::byte> ones(shape.embedding * sizeof(float));
    for (size_t i = 0; i < shape.embedding; ++i) {
      const float one = 1;
      std::memcpy(&ones[i * sizeof one], &one, sizeof one);
    }
    writer.add_tensor(name, Format::F32, {shape.embedding}, std::move(ones));
  };
  const uint64_t width = shape.embedding, kv = width / shape.heads * shape.kv_heads;
  matrix("token_embd.weight", Format::Q4_K, width, shape.vocabulary);
  norm("output_norm.weight");
  matrix("output.weight", Format::Q6_K, width, shape.vocabulary);
  for (uint32_t layer = 0; layer < shape.layers; ++layer) {
    const std::string prefix = "blk." + std::to_string(layer) + ".";
    norm(prefix + "attn_norm.weight");
    matrix(prefix + "attn_q.weight", Format::Q4_K, width, width);
    matrix(prefix + "attn_k.weight", Format::Q4_K, width, kv);
    matrix(prefix + "attn_v.weight", Format::Q6_K, width, kv);
    matrix(prefix + "attn_output.weight", Format::Q4_K, width, width);
    norm(prefix + "ffn_norm.weight");
    matrix(prefix + "ffn_gate.weight", Format::Q4_K, width, shape.feed_forward);
    matrix(prefix + "ffn_up.weight", Format::Q4_K, width, shape.feed_forward);
    matrix(prefix + "ffn_down.weight", Format::Q6_K, shape.feed_forward, width);
  }
  return writer.write(path);
}

}  // namespace quern::test
