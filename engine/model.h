// Model: an architecture read from a file's metadata, as a program over bound weights.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/file.h"
#include "kernels/op.h"

namespace quern::engine {

// What every decoder family has; read and range-checked by read_config.
struct Config {
  std::string architecture;
  uint32_t layers;
  uint32_t context;     // positions the model was trained for
  uint32_t embedding;   // width of the residual stream
  uint32_t vocabulary;  // rows of the output matrix
  float rms_epsilon;
  std::vector<uint64_t> heads, kv_heads, feed_forward;  // per layer
  uint32_t key_length, value_length;                    // values per head
  uint32_t rope_dimensions;                             // rotated values per head
  uint32_t experts, experts_used;                       // 0: dense
};

struct Model {
  Config config;
  kernels::Program program;
  std::vector<gguf::TensorView> weights;  // by WeightId, views into the file
  std::vector<std::string> warnings;      // one sentence each
};

// Reads the model in `file`, which must outlive it. Every shape is checked against the
// configuration. Errors: "arch-missing", "arch-unknown", "file-kind", "key-…", "tensor-missing",
// "tensor-shape".
Result<Model> read_model(const gguf::File& file);

// Names of the supported architectures.
std::vector<std::string_view> supported_architectures();

}  // namespace quern::engine
