// ModelBuilder: what the families share: binding weights and appending the usual blocks. Tensor
// names and shapes: spec, gguf container, section 7.
#pragma once

#include <array>
#include <initializer_list>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "engine/models/config.h"

namespace quern::engine::models {

// "blk.LAYER.STEM"
std::string layer_name(uint32_t layer, std::string_view stem);

// Appends operations to a program. The first problem is kept, everything after it is harmless, and
// finish() reports it; so a family reads like its paper. Norms and biases are named by the stem of
// their tensors in a layer; an empty stem: there is none.
class ModelBuilder {
 public:
  using HeadNorms = std::optional<kernels::HeadNorm::Over>;

  // `keys` must outlive the builder; blocks use `ropes` by index.
  ModelBuilder(Keys& keys, Config config, std::vector<kernels::Rope> ropes);

  const Config& config() const { return model_.config; }
  bool has(std::string_view name) const { return file_.find_tensor(name) != nullptr; }
  bool layer_has(uint32_t layer, std::string_view name) const;

  // x = scale * token embedding (+ the position's row of position_embd).
  void embed(float scale = 1, bool positions = false);

  // How a block joins the residual stream: x = x + scale * post_norm(block(norm(x))).
  struct Residual {
    std::string_view norm;
    std::string_view post_norm = {};
    float scale = 1;
    // Attention and the feed-forward after it both read the x before them (Wang 2021).
    bool parallel = false;
  };

  struct AttentionOptions {
    Residual residual = {.norm = "attn_norm"};
    uint32_t rope = 0;  // index, or kernels::kAbsent
    HeadNorms qk_norm = {};
    float scale = 0;  // of the scores; 0: 1 / sqrt(key_length)
    float softcap = 0;
    uint32_t window = 0;
    bool sinks = false;
    // attn_q holds, head by head, queries and a gate: what attention gives counts sigmoid(gate)
    // times.
    bool gated = false;
    uint32_t head_width = 0;  // of keys and values; 0: the configuration's
    // v = v / sqrt(mean(v^2)) per head; without attn_v, v is k before its norm.
    bool normed_values = false;
    uint32_t cache_of =
        kernels::kAbsent;  // the layer whose keys and values are read; absent: its own
    kernels::QueryTemperature temperature = {};
  };
  // x = x + Wo · attention(norm(x)); biases where the file has them; q, k and v apart or fused.
  void attention(uint32_t layer, const AttentionOptions& options);

  struct FeedForwardOptions {
    Residual residual = {.norm = "ffn_norm"};
    kernels::Activation activation = kernels::Activation::kSilu;
    bool gated = true;
  };
  // x = x + down · (activation(gate · norm(x)) * (up · norm(x))), gate and up apart or fused; or
  // x = x + down · activation(up · norm(x)). Biases where the file has them.
  void feed_forward(uint32_t layer, const FeedForwardOptions& options);

  struct ExpertsOptions {
    Residual residual = {.norm = "ffn_norm"};
    kernels::Routing routing = {};
    kernels::Activation activation = kernels::Activation::kSilu;
    uint32_t width = 0;         // of an expert; 0: the feed-forward's
    uint32_t shared_width = 0;  // of the expert that every token takes; 0: there is none
    bool shared_gate = false;   // which counts sigmoid(ffn_gate_inp_shexp · norm(x)) times
  };
  // x = x + Σ experts, see kernels::Experts; gate and up apart or fused, biases where the file has
  // them.
  void experts(uint32_t layer, const ExpertsOptions& options);
  // x = x + post_norm(post_ffw_norm_1(unit(ffn_norm(x))) + post_ffw_norm_2(Σ experts)) with a gated
  // unit beside experts, whose router has a norm of its own (Gemma 4).
  void dense_and_experts(uint32_t layer, const ExpertsOptions& options);

  // x = x + out · (C * conv(B * X)) with [B, C, X] = in · norm(x) (LFM2).
  void short_conv(uint32_t layer, uint32_t taps);

  // Of every token, one vector for each layer: (norm(model_proj · x / sqrt(E)) + sqrt(width) *
  // row of per_layer_token_embd) / sqrt(2).
  void layer_inputs(uint32_t width);
  // x = x + norm(proj · (gelu(inp_gate · x) * the layer's vector)).
  void add_layer_input(uint32_t layer, uint32_t width);
  // x = layer_output_scale * x, where the file has it.
  void scale_layer(uint32_t layer);

  struct LatentOptions {
    uint32_t latent;      // values that the cache keeps for a position, beside the rope's
    uint32_t query_rank;  // of the two matrices that make queries; 0: there is one
    uint32_t key_width, value_width;  // per head
    uint32_t rope_width;              // the last values of a key, which are turned
    float scale;
    kernels::QueryTemperature temperature = {};
  };
  // x = x + Wo · attention(norm(x)) with latent keys and values.
  void latent_attention(uint32_t layer, const LatentOptions& options);

  struct DeltaNetOptions {
    uint32_t key_heads, value_heads, width, taps;
  };
  // x = x + out · (norm(delta(silu(conv(qkv · norm(x))))) * silu(gate · norm(x))), see
  // kernels::GatedDelta.
  void delta_net(uint32_t layer, const DeltaNetOptions& options);

  struct Mamba2Options {
    uint32_t heads, width, groups, state_width, taps;
    float scale = 1;  // of the branch
  };
  // x = x + scale * out · norm(scan(silu(conv(xBC))) * silu(z)) with [z, xBC, step] = in · norm(x),
  // see kernels::SelectiveScan.
  void mamba2(uint32_t layer, const Mamba2Options& options);

  // logits = scale * output · norm(x), softcap > 0: capped, for the rows that want them; a tied
  // file has no output matrix.
  void output(float scale = 1, float softcap = 0, const std::string& norm_stem = "output_norm");

  // Errors: "key-…", "tensor-missing", "tensor-shape", "tensor-unknown".
  Result<Model> finish();

 private:
  using Shape = std::initializer_list<uint64_t>;

  // The tensor, marked as used, if it is there and has this shape; else nullptr, and an error.
  const gguf::TensorView* use(const std::string& name, std::array<uint64_t, 4> expected);
  kernels::WeightId bind(const std::string& name, Shape shape);
  // [in, out, experts]: one tensor STEM_exps, or a tensor STEM.E for each expert.
  kernels::WeightId bind_experts(uint32_t layer, std::string_view stem, uint64_t in, uint64_t out);
  // [rows of a slice, in, count] or transposed [in, rows, count], a copy made at load: of a matrix
  // [in, out] the `rows` rows from first + i * step on, for every i < count.
  struct Slices {
    uint64_t first, rows, step, count;
    bool transposed;
  };
  kernels::WeightId bind_slices(const gguf::TensorView& matrix, std::string name,
                                const Slices& slices);
  kernels::WeightId bind_if_present(const std::string& name, Shape shape);
  // The same as one vector: [a * b] of a tensor [a, b].
  kernels::WeightId bind_flat(const std::string& name, Shape shape);
  // The mixture of a layer, x = x + Σ experts, with what the file has of it.
  kernels::Experts mixture(uint32_t layer, const ExpertsOptions& options);
  // The gates and ups of experts: two tensors, or one with the rows of both.
  void bind_gates_and_ups(uint32_t layer, uint64_t width, kernels::Experts& op);
  // Rows [first, first + count) of a bound matrix or vector as a weight of their own.
  kernels::WeightId rows_of(kernels::WeightId weight, uint64_t first, uint64_t count);
  kernels::WeightId add(const gguf::TensorView& tensor, std::array<uint64_t, 4> shape);
  kernels::Linear linear(const std::string& stem, uint64_t in, uint64_t out, kernels::ValueId to);
  kernels::Norm norm(const std::string& stem, uint64_t width);
  kernels::Heads heads_of(uint32_t layer, uint32_t width) const;
  // The layers that keep the same positions.
  uint32_t group_of(uint32_t window);
  kernels::Norm layer_norm(uint32_t layer, std::string_view stem);
  kernels::HeadNorm head_norm(const std::string& stem, uint64_t heads, uint64_t width,
                              HeadNorms over);
  // A value of at least `width`, made at its first use.
  kernels::ValueId wide(kernels::ValueId& value, uint64_t width);
  // A value of exactly `width`, for operations that read whole rows; one for each use of a width.
  kernels::ValueId exactly(std::string_view use, uint64_t width);
  void project_qkv(uint32_t layer, const kernels::Heads& heads, std::string_view norm_stem);
  // The same where only q is needed, and where values are brought to length.
  void project_q(uint32_t layer, const kernels::Heads& heads, std::string_view norm_stem);
  void project_normed_values(uint32_t layer, const kernels::Heads& heads,
                             std::string_view norm_stem);
  // The same where attn_q is [q, gate] head by head; returns the gate.
  kernels::ValueId project_gated_qkv(uint32_t layer, const kernels::Heads& heads,
                                     std::string_view norm_stem);
  struct LatentRows {
    kernels::ValueId q, kv;  // [heads * key_width], [latent + rope_width]
  };
  LatentRows project_latent(uint32_t layer, const LatentOptions& options);
  struct LatentWeights {
    kernels::WeightId keys, values;  // [plain width, latent, heads], [latent, value width, heads]
  };
  // Two tensors, or one with the rows of both.
  LatentWeights bind_latent(uint32_t layer, const LatentOptions& options);
  // silu(conv(in)) with the weights of ssm_conv1d.
  kernels::ValueId ssm_conv(uint32_t layer, kernels::ValueId in, uint64_t width, uint32_t taps);
  // hidden = activation(gate · norm(x)) * (up · norm(x)).
  void gated_unit(uint32_t layer, std::string_view suffix, uint64_t width,
                  const kernels::Norm& norm, kernels::Activation activation);
  // Ends a block: x = x + scale * post_norm(linear · in).
  void join(uint32_t layer, kernels::ValueId in, kernels::Linear linear, const Residual& residual,
            kernels::ValueId before);
  void reject(std::string code, std::string message);
  void check_tensors();

  Keys& keys_;
  const gguf::File& file_;
  Model model_;
  std::set<std::string, std::less<>> used_;
  std::optional<Error> error_;
  kernels::ValueId x_, logits_ = kernels::kAbsent;
  kernels::WeightId embedding_ = kernels::kAbsent;
  // Of a block; branch_ is x + attention before a parallel feed-forward, or what is not yet added.
  kernels::ValueId q_ = kernels::kAbsent, k_ = kernels::kAbsent, v_ = kernels::kAbsent,
                   attended_ = kernels::kAbsent, hidden_ = kernels::kAbsent,
                   branch_ = kernels::kAbsent, gate_ = kernels::kAbsent;
  std::map<std::pair<std::string, uint64_t>, kernels::ValueId> exact_;  // see exactly()
};

}  // namespace quern::engine::models
