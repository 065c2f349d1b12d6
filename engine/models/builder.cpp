#include "engine/models/builder.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

namespace quern::engine::models {
namespace {

constexpr Keys::Range kHeads = {1, 4096};
constexpr Keys::Range kWidth = {1, 1 << 20};

std::string layer_name(uint32_t layer, std::string_view stem) {
  return fmt::format("blk.{}.{}", layer, stem);
}

uint64_t largest(const std::vector<uint64_t>& values) { return *std::ranges::max_element(values); }

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

Result<Config> read_config(const gguf::File& file, std::string_view architecture) {
  Keys keys(file, std::string(architecture));
  Config config{};
  config.architecture = architecture;
  config.layers = static_cast<uint32_t>(keys.integer("block_count", {1, 1024}));
  config.context = static_cast<uint32_t>(keys.integer("context_length", {1, 2147483647}));
  config.embedding = static_cast<uint32_t>(keys.integer("embedding_length", kWidth));
  config.rms_epsilon =
      static_cast<float>(keys.real("attention.layer_norm_rms_epsilon", {1e-30, 1}));
  config.heads = keys.per_layer("attention.head_count", config.layers, kHeads);
  config.kv_heads =
      keys.per_layer("attention.head_count_kv", config.layers, kHeads, config.heads[0]);
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
  if (config.rope_dimensions % 2) {
    keys.reject("key-range", "rope.dimension_count",
                fmt::format("rope dimension count {} is odd", config.rope_dimensions));
  }
  if ((config.experts > 0) != (config.experts_used > 0)) {
    keys.reject("key-range", "expert_used_count",
                fmt::format("{} of {} experts used", config.experts_used, config.experts));
  }
  for (uint32_t layer = 0; layer < config.layers; ++layer) {
    if (config.heads[layer] % config.kv_heads[layer]) {
      keys.reject("key-range", "attention.head_count_kv",
                  fmt::format("{} key/value heads do not divide {} heads (layer {})",
                              config.kv_heads[layer], config.heads[layer], layer));
    }
  }
  QUERN_CHECK(keys.status());
  QUERN_TRY(config.vocabulary, read_vocabulary(file));
  return config;
}

ModelBuilder::ModelBuilder(const gguf::File& file, Config config, kernels::Rope rope)
    : file_(file) {
  kernels::Program& program = model_.program;
  program.ropes.push_back(std::move(rope));
  const auto value = [&](uint64_t width) {
    return program.add_value(static_cast<uint32_t>(width));
  };
  const uint64_t heads = largest(config.heads), kv_heads = largest(config.kv_heads);
  x_ = value(config.embedding);
  q_ = value(heads * config.key_length);
  k_ = value(kv_heads * config.key_length);
  v_ = value(kv_heads * config.value_length);
  attended_ = value(heads * config.value_length);
  hidden_ = value(largest(config.feed_forward));
  gathered_ = program.add_value(config.embedding, kernels::ValueInfo::Rows::kLogits);
  logits_ = program.add_value(config.vocabulary, kernels::ValueInfo::Rows::kLogits);
  model_.config = std::move(config);
}

void ModelBuilder::reject(std::string code, std::string message) {
  if (error_) return;
  error_ = bad_input(std::move(code), std::move(message)).value();
  error_->path = file_.path();
}

kernels::WeightId ModelBuilder::add(const gguf::TensorView& tensor, std::array<uint64_t, 4> shape) {
  gguf::TensorView view = tensor;
  view.shape = shape;
  model_.program.weights.push_back({std::string(tensor.name), tensor.format, shape});
  model_.weights.push_back(view);
  return static_cast<kernels::WeightId>(model_.weights.size() - 1);
}

kernels::WeightId ModelBuilder::bind(const std::string& name, Shape shape) {
  std::array<uint64_t, 4> expected = {1, 1, 1, 1};
  std::ranges::copy(shape, expected.begin());
  const gguf::TensorView* tensor = file_.find_tensor(name);
  if (!tensor) {
    reject("tensor-missing", fmt::format("missing tensor {}", escape(name)));
    return kernels::kAbsent;
  }
  if (tensor->shape != expected) {
    reject("tensor-shape",
           fmt::format("tensor {}: shape {}, expected {}", escape(name),
                       fmt::join(tensor->shape, " x "), fmt::join(expected, " x ")));
    return kernels::kAbsent;
  }
  used_.insert(name);
  return add(*tensor, expected);
}

kernels::WeightId ModelBuilder::bind_if_present(const std::string& name, Shape shape) {
  return has(name) ? bind(name, shape) : kernels::kAbsent;
}

kernels::WeightId ModelBuilder::rows_of(kernels::WeightId weight, uint64_t first, uint64_t count) {
  if (weight == kernels::kAbsent) return weight;
  gguf::TensorView part = model_.weights[weight];
  // A bias [n] is cut along its only dimension, a matrix [in, out] along its rows.
  const bool vector = part.rows() == 1;
  const gguf::FormatInfo& format = gguf::info(part.format);
  const uint64_t row_bytes = vector ? format.row_bytes(1) : part.row_bytes();
  part.bytes = part.bytes.subspan(first * row_bytes, count * row_bytes);
  return add(part, vector ? std::array<uint64_t, 4>{count, 1, 1, 1}
                          : std::array<uint64_t, 4>{part.shape[0], count, 1, 1});
}

kernels::Linear ModelBuilder::linear(const std::string& stem, uint64_t in, uint64_t out,
                                     kernels::ValueId to) {
  return {.weight = bind(stem + ".weight", {in, out}),
          .bias = bind_if_present(stem + ".bias", {out}),
          .out = to};
}

kernels::Norm ModelBuilder::norm(const std::string& stem, uint64_t width) {
  return {bind(stem + ".weight", {width}), config().rms_epsilon};
}

void ModelBuilder::embed() {
  // The embedding may have padding rows that the output matrix lacks, or the other way round: a
  // token must have both.
  const kernels::WeightId table =
      bind("token_embd.weight", {config().embedding, config().vocabulary});
  model_.program.ops.push_back(kernels::Embed{table, x_});
}

void ModelBuilder::project_qkv(uint32_t layer, const kernels::Heads& heads) {
  const uint64_t in = config().embedding;
  const uint64_t q_out = uint64_t{heads.queries} * heads.key_width;
  const uint64_t k_out = uint64_t{heads.keys} * heads.key_width;
  const uint64_t v_out = uint64_t{heads.keys} * heads.value_width;
  kernels::Projection projection{
      .in = x_, .norm = norm(layer_name(layer, "attn_norm"), in), .outputs = {}};
  if (const std::string fused = layer_name(layer, "attn_qkv"); has(fused + ".weight")) {
    const kernels::Linear all = linear(fused, in, q_out + k_out + v_out, q_);
    const auto part = [&](uint64_t first, uint64_t count, kernels::ValueId to) {
      projection.outputs.push_back({.weight = rows_of(all.weight, first, count),
                                    .bias = rows_of(all.bias, first, count),
                                    .out = to});
    };
    part(0, q_out, q_);
    part(q_out, k_out, k_);
    part(q_out + k_out, v_out, v_);
  } else {
    projection.outputs = {linear(layer_name(layer, "attn_q"), in, q_out, q_),
                          linear(layer_name(layer, "attn_k"), in, k_out, k_),
                          linear(layer_name(layer, "attn_v"), in, v_out, v_)};
  }
  model_.program.ops.push_back(std::move(projection));
}

void ModelBuilder::attention(uint32_t layer, const AttentionOptions& options) {
  kernels::Program& program = model_.program;
  const kernels::Heads heads{.queries = static_cast<uint32_t>(config().heads[layer]),
                             .keys = static_cast<uint32_t>(config().kv_heads[layer]),
                             .key_width = config().key_length,
                             .value_width = config().value_length};
  program.layers.push_back(heads);
  project_qkv(layer, heads);

  kernels::CacheAppend append{
      .q = q_, .k = k_, .v = v_, .q_norm = {}, .k_norm = {}, .rope = 0, .layer = layer};
  if (options.qk_norm) {
    append.q_norm.norm = norm(layer_name(layer, "attn_q_norm"), heads.key_width);
    append.k_norm.norm = norm(layer_name(layer, "attn_k_norm"), heads.key_width);
  }
  program.ops.push_back(append);

  const float scale =
      options.scale != 0 ? options.scale : 1.0f / std::sqrt(static_cast<float>(heads.key_width));
  program.ops.push_back(
      kernels::Attention{.q = q_, .out = attended_, .layer = layer, .scale = scale});

  kernels::Linear out = linear(layer_name(layer, "attn_output"),
                               uint64_t{heads.queries} * heads.value_width, config().embedding, x_);
  out.add = x_;
  program.ops.push_back(kernels::Projection{.in = attended_, .norm = {}, .outputs = {out}});
}

void ModelBuilder::feed_forward(uint32_t layer) {
  const uint64_t in = config().embedding, width = config().feed_forward[layer];
  model_.program.ops.push_back(
      kernels::Projection{.in = x_,
                          .norm = norm(layer_name(layer, "ffn_norm"), in),
                          .outputs = {linear(layer_name(layer, "ffn_gate"), in, width, hidden_),
                                      linear(layer_name(layer, "ffn_up"), in, width, hidden_)},
                          .activation = kernels::Activation::kSilu});
  kernels::Linear down = linear(layer_name(layer, "ffn_down"), width, in, x_);
  down.add = x_;
  model_.program.ops.push_back(kernels::Projection{.in = hidden_, .norm = {}, .outputs = {down}});
}

void ModelBuilder::experts(uint32_t layer) {
  const uint64_t in = config().embedding, width = config().feed_forward[layer];
  const uint64_t count = config().experts;
  model_.program.ops.push_back(
      kernels::Experts{.in = x_,
                       .norm = norm(layer_name(layer, "ffn_norm"), in),
                       .router = bind(layer_name(layer, "ffn_gate_inp.weight"), {in, count}),
                       .gate = bind(layer_name(layer, "ffn_gate_exps.weight"), {in, width, count}),
                       .up = bind(layer_name(layer, "ffn_up_exps.weight"), {in, width, count}),
                       .down = bind(layer_name(layer, "ffn_down_exps.weight"), {width, in, count}),
                       .used = config().experts_used,
                       .out = x_,
                       .add = x_});
}

void ModelBuilder::output() {
  kernels::Program& program = model_.program;
  const uint64_t width = config().embedding;
  program.ops.push_back(kernels::SelectLogitRows{x_, gathered_});
  const bool tied = !has("output.weight");
  kernels::Linear head{
      .weight = bind(tied ? "token_embd.weight" : "output.weight", {width, config().vocabulary}),
      .bias = bind_if_present("output.bias", {config().vocabulary}),
      .out = logits_};
  program.ops.push_back(
      kernels::Projection{.in = gathered_, .norm = norm("output_norm", width), .outputs = {head}});
}

Result<Model> ModelBuilder::finish() {
  if (error_) return tl::unexpected(*error_);
  model_.program.finish(logits_);
  used_.insert("rope_freqs.weight");  // read_rope takes it, on files that have it
  std::vector<std::string> unused;
  for (const gguf::TensorView& tensor : file_.tensors()) {
    if (!used_.contains(tensor.name)) unused.push_back(escape(tensor.name));
  }
  if (!unused.empty()) {
    const size_t shown = std::min<size_t>(unused.size(), 3);
    model_.warnings.push_back(fmt::format(
        "{} tensors are not used by {}: {}{}", unused.size(), config().architecture,
        fmt::join(unused.begin(), unused.begin() + static_cast<std::ptrdiff_t>(shown), ", "),
        shown < unused.size() ? ", …" : ""));
  }
  return std::move(model_);
}

}  // namespace quern::engine::models
