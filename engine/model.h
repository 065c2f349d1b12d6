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
  kernels::Norm::Kind norm;
  float norm_epsilon;
  std::vector<uint64_t> heads, kv_heads, feed_forward;  // per layer
  uint32_t key_length, value_length;                    // values per head
  uint32_t rope_dimensions;                             // rotated values per head
  uint32_t experts, experts_used;                       // 0: dense
  uint32_t expert_feed_forward;                         // 0: the file does not say
};

// A second rope for longer contexts (Ding et al. 2024): replaces the first one when an engine's
// sequences may be longer than `beyond` positions.
struct LongRope {
  uint32_t beyond = UINT32_MAX;  // no file says so: there is no second rope
  kernels::Rope rope = {};
};

// A weight that the file stores in pieces: old Mixtral files have a tensor for each expert, and old
// DeepSeek files one matrix whose rows are keys and values of all heads in turn.
struct StackedWeight {
  kernels::WeightId weight;
  std::vector<gguf::TensorView> pieces;  // one matrix each, in order
  bool transposed = false;               // of each matrix, in f32; else as they are
  std::vector<std::byte> bytes = {};     // theirs, one after another; see stack_weights

  uint64_t file_bytes() const;
};

struct Model {
  Config config;
  kernels::Program program;
  std::vector<gguf::TensorView> weights;  // by WeightId, views into the file and `stacked`
  std::vector<StackedWeight> stacked;     // whose view in weights is without bytes at first
  std::vector<std::string> warnings;      // one sentence each
  LongRope long_rope = {};
  uint32_t max_positions = UINT32_MAX;  // learned positions end here
};

// Reads the model in `file`, which must outlive it. Every shape is checked against the
// configuration. Errors: "arch-missing", "arch-unknown", "file-kind", "key-…", "tensor-missing",
// "tensor-shape", "tensor-unknown", "rope-scaling".
Result<Model> read_model(const gguf::File& file);

// Copies the pieces of stacked weights to memory of their own, and lets `file` forget them.
void stack_weights(const gguf::File& file, Model& model);

// Names of the supported architectures.
std::vector<std::string_view> supported_architectures();

}  // namespace quern::engine
