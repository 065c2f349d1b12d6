// ModelBuilder: what the families share: reading the configuration, binding weights, appending the
// usual blocks. Tensor names and shapes: spec, gguf container, section 7.
#pragma once

#include <initializer_list>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "engine/metadata.h"
#include "engine/model.h"

namespace quern::engine::models {

// Reads the keys that every decoder has. Errors: "key-…".
Result<Config> read_config(const gguf::File& file, std::string_view architecture);

// Appends operations to a program. The first problem is kept, everything after it is harmless, and
// finish() reports it; so a family reads like its paper.
class ModelBuilder {
 public:
  ModelBuilder(const gguf::File& file, Config config, kernels::Rope rope);

  const Config& config() const { return model_.config; }
  bool has(std::string_view name) const { return file_.find_tensor(name) != nullptr; }

  // x = token embedding.
  void embed();
  struct AttentionOptions {
    bool qk_norm = false;  // RMSNorm per head of q and k, before rope
    float scale = 0;       // of the scores; 0: 1 / sqrt(key_length)
  };
  // x = x + Wo · attention(norm(x)); biases where the file has them.
  void attention(uint32_t layer, const AttentionOptions& options);
  // x = x + down · (silu(gate · norm(x)) * (up · norm(x))).
  void feed_forward(uint32_t layer);
  // x = x + Σ experts, see kernels::Experts.
  void experts(uint32_t layer);
  // logits = output · norm(x) for the rows that want them; a tied file has no output matrix.
  void output();

  // Errors: "tensor-missing", "tensor-shape".
  Result<Model> finish();

 private:
  using Shape = std::initializer_list<uint64_t>;

  kernels::WeightId bind(const std::string& name, Shape shape);
  kernels::WeightId bind_if_present(const std::string& name, Shape shape);
  // Rows [first, first + count) of a bound matrix as a weight of their own.
  kernels::WeightId rows_of(kernels::WeightId weight, uint64_t first, uint64_t count);
  kernels::WeightId add(const gguf::TensorView& tensor, std::array<uint64_t, 4> shape);
  kernels::Linear linear(const std::string& stem, uint64_t in, uint64_t out, kernels::ValueId to);
  kernels::Norm norm(const std::string& stem, uint64_t width);
  void project_qkv(uint32_t layer, const kernels::Heads& heads);
  void reject(std::string code, std::string message);

  const gguf::File& file_;
  Model model_;
  std::set<std::string, std::less<>> used_;
  std::optional<Error> error_;
  kernels::ValueId x_, q_, k_, v_, attended_, hidden_, gathered_, logits_;
};

}  // namespace quern::engine::models
