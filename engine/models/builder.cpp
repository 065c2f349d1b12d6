#include "engine/models/builder.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

namespace quern::engine::models {
namespace {

using kernels::kAbsent;

// Keys that change what a family computes: whoever does not read them must not ignore them.
constexpr std::array<std::string_view, 18> kGraphKeys = {"attention.scale",
                                                         "attention.sliding_window",
                                                         "attention.clamp_kqv",
                                                         "attention.max_alibi_bias",
                                                         "attention.temperature_scale",
                                                         "attention.chunk_size",
                                                         "attention.shared_kv_layers",
                                                         "attention.q_lora_rank",
                                                         "attn_logit_softcapping",
                                                         "final_logit_softcapping",
                                                         "embedding_scale",
                                                         "residual_scale",
                                                         "logit_scale",
                                                         "expert_weights_scale",
                                                         "expert_shared_feed_forward_length",
                                                         "expert_shared_count",
                                                         "leading_dense_block_count",
                                                         "embedding_length_per_layer_input"};

// Tensors of old files that say nothing: causal masks, and frequencies that follow from the keys.
constexpr std::array<std::string_view, 4> kIdleTensors = {
    "attn_rot_embd.weight", "attn.masked_bias", "rope_freqs.weight", "attn_bias"};

// Whether a tensor belongs to one of the first `layers` blocks and is none of kIdleTensors.
bool matters(std::string_view name, uint32_t layers) {
  if (!name.starts_with("blk.")) return false;
  uint32_t layer = layers;
  const auto [end, problem] = std::from_chars(name.data() + 4, name.data() + name.size(), layer);
  if (problem != std::errc() || layer >= layers || end == name.data() + name.size()) return false;
  const std::string_view stem(end + 1, name.data() + name.size());
  return std::ranges::find(kIdleTensors, stem) == kIdleTensors.end();
}

}  // namespace

std::string layer_name(uint32_t layer, std::string_view stem) {
  return fmt::format("blk.{}.{}", layer, stem);
}

ModelBuilder::ModelBuilder(Keys& keys, Config config, std::vector<kernels::Rope> ropes)
    : keys_(keys), file_(keys.file()), x_(0) {
  kernels::Program& program = model_.program;
  program.ropes = std::move(ropes);
  x_ = program.add_value(config.embedding);
  model_.config = std::move(config);
}

bool ModelBuilder::layer_has(uint32_t layer, std::string_view name) const {
  return has(layer_name(layer, name));
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

const gguf::TensorView* ModelBuilder::use(const std::string& name,
                                          std::array<uint64_t, 4> expected) {
  const gguf::TensorView* tensor = file_.find_tensor(name);
  if (!tensor) {
    reject("tensor-missing", fmt::format("missing tensor {}", escape(name)));
    return nullptr;
  }
  if (tensor->shape != expected) {
    reject("tensor-shape",
           fmt::format("tensor {}: shape {}, expected {}", escape(name),
                       fmt::join(tensor->shape, " x "), fmt::join(expected, " x ")));
    return nullptr;
  }
  used_.insert(name);
  return tensor;
}

kernels::WeightId ModelBuilder::bind(const std::string& name, Shape shape) {
  std::array<uint64_t, 4> expected = {1, 1, 1, 1};
  std::ranges::copy(shape, expected.begin());
  const gguf::TensorView* tensor = use(name, expected);
  return tensor ? add(*tensor, expected) : kAbsent;
}

kernels::WeightId ModelBuilder::bind_slices(const gguf::TensorView& matrix, std::string name,
                                            const Slices& slices) {
  std::vector<gguf::TensorView> pieces;
  for (uint64_t i = 0; i < slices.count; ++i) {
    gguf::TensorView piece = matrix;
    piece.shape[1] = slices.rows;
    piece.bytes = matrix.bytes.subspan((slices.first + i * slices.step) * matrix.row_bytes(),
                                       slices.rows * matrix.row_bytes());
    pieces.push_back(piece);
  }
  gguf::TensorView stacked = matrix;
  stacked.dims = 3;
  stacked.bytes = {};
  if (slices.transposed) stacked.format = gguf::Format::F32;
  const uint64_t in = matrix.shape[0], rows = slices.rows;
  const kernels::WeightId id =
      add(stacked, {slices.transposed ? rows : in, slices.transposed ? in : rows, slices.count, 1});
  model_.program.weights[id].name = std::move(name);
  model_.stacked.push_back({id, std::move(pieces), slices.transposed});
  return id;
}

kernels::WeightId ModelBuilder::bind_if_present(const std::string& name, Shape shape) {
  return has(name) ? bind(name, shape) : kernels::kAbsent;
}

kernels::WeightId ModelBuilder::bind_flat(const std::string& name, Shape shape) {
  const kernels::WeightId id = bind_if_present(name, shape);
  if (id == kAbsent) return id;
  uint64_t count = 1;
  for (const uint64_t size : shape) count *= size;
  const std::array<uint64_t, 4> flat = {count, 1, 1, 1};
  model_.weights[id].shape = flat;
  model_.program.weights[id].shape = flat;
  return id;
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
  kernels::Norm norm{.weight = bind(stem + ".weight", {width}),
                     .epsilon = config().norm_epsilon,
                     .kind = config().norm};
  if (norm.kind == kernels::Norm::Kind::kLayer) {
    norm.bias = bind_if_present(stem + ".bias", {width});
  }
  return norm;
}

kernels::Norm ModelBuilder::layer_norm(uint32_t layer, std::string_view stem) {
  return stem.empty() ? kernels::Norm{} : norm(layer_name(layer, stem), config().embedding);
}

kernels::HeadNorm ModelBuilder::head_norm(const std::string& stem, uint64_t heads, uint64_t width,
                                          HeadNorms over) {
  if (!over) return {};
  if (*over == kernels::HeadNorm::Over::kEachHead) return {norm(stem, width), *over};
  if (*over == kernels::HeadNorm::Over::kAllHeads) return {norm(stem, heads * width), *over};
  const kernels::WeightId weight = bind_flat(stem + ".weight", {width, heads});
  return {{.weight = weight, .epsilon = config().norm_epsilon, .kind = config().norm}, *over};
}

kernels::ValueId ModelBuilder::wide(kernels::ValueId& value, uint64_t width) {
  const auto wanted = static_cast<uint32_t>(width);
  if (value == kAbsent) value = model_.program.add_value(wanted);
  kernels::ValueInfo& info = model_.program.values[value];
  info.width = std::max(info.width, wanted);
  return value;
}

kernels::ValueId ModelBuilder::exactly(std::string_view use, uint64_t width) {
  const auto [place, is_new] = exact_.try_emplace({std::string(use), width}, 0);
  if (is_new) place->second = model_.program.add_value(static_cast<uint32_t>(width));
  return place->second;
}

void ModelBuilder::embed(float scale, bool positions) {
  // The embedding may have padding rows that the output matrix lacks, or the other way round: a
  // token must have both.
  embedding_ = bind("token_embd.weight", {config().embedding, config().vocabulary});
  kernels::Embed op{.table = embedding_, .out = x_, .scale = scale};
  if (positions) {
    const gguf::TensorView* table = file_.find_tensor("position_embd.weight");
    const uint64_t rows = table ? table->shape[1] : config().context;
    op.positions = bind("position_embd.weight", {config().embedding, rows});
    model_.max_positions = static_cast<uint32_t>(std::min<uint64_t>(rows, UINT32_MAX));
  }
  model_.program.ops.push_back(op);
}

void ModelBuilder::project_qkv(uint32_t layer, const kernels::Heads& heads,
                               std::string_view norm_stem) {
  const uint64_t in = config().embedding;
  const uint64_t q_out = uint64_t{heads.queries} * heads.key_width;
  const uint64_t k_out = uint64_t{heads.keys} * heads.key_width;
  const uint64_t v_out = uint64_t{heads.keys} * heads.value_width;
  wide(q_, q_out), wide(k_, k_out), wide(v_, v_out);
  kernels::Projection projection{.in = x_, .norm = layer_norm(layer, norm_stem), .outputs = {}};
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

kernels::Heads ModelBuilder::heads_of(uint32_t layer, uint32_t width) const {
  return {.queries = static_cast<uint32_t>(config().heads[layer]),
          .keys = static_cast<uint32_t>(config().kv_heads[layer]),
          .key_width = width > 0 ? width : config().key_length,
          .value_width = width > 0 ? width : config().value_length};
}

void ModelBuilder::project_q(uint32_t layer, const kernels::Heads& heads,
                             std::string_view norm_stem) {
  const uint64_t q_out = uint64_t{heads.queries} * heads.key_width;
  model_.program.ops.push_back(
      kernels::Projection{.in = x_,
                          .norm = layer_norm(layer, norm_stem),
                          .outputs = {linear(layer_name(layer, "attn_q"), config().embedding, q_out,
                                             wide(q_, q_out))}});
}

void ModelBuilder::project_normed_values(uint32_t layer, const kernels::Heads& heads,
                                         std::string_view norm_stem) {
  const uint64_t out = uint64_t{heads.keys} * heads.key_width;
  kernels::Program& program = model_.program;
  project_q(layer, heads, norm_stem);
  std::vector<kernels::Linear>& outputs = std::get<kernels::Projection>(program.ops.back()).outputs;
  const auto add = [&](const char* stem, kernels::ValueId to) {
    outputs.push_back(linear(layer_name(layer, stem), config().embedding, out, to));
  };
  add("attn_k", wide(k_, out));
  add(layer_has(layer, "attn_v.weight") ? "attn_v" : "attn_k", wide(v_, out));
  program.ops.push_back(kernels::GatedNorm{.x = v_,
                                           .heads = heads.keys,
                                           .width = heads.value_width,
                                           .normalized = true,
                                           .norm = {{.epsilon = config().norm_epsilon}}});
}

kernels::ValueId ModelBuilder::project_gated_qkv(uint32_t layer, const kernels::Heads& heads,
                                                 std::string_view norm_stem) {
  const uint64_t in = config().embedding, width = heads.key_width;
  const uint64_t q_out = heads.queries * width, k_out = heads.keys * width;
  const uint64_t v_out = uint64_t{heads.keys} * heads.value_width;
  const kernels::ValueId both = exactly("q and gate", 2 * q_out), gate = exactly("gate", q_out);
  wide(q_, q_out), wide(k_, k_out), wide(v_, v_out);
  kernels::Program& program = model_.program;
  program.ops.push_back(
      kernels::Projection{.in = x_,
                          .norm = layer_norm(layer, norm_stem),
                          .outputs = {linear(layer_name(layer, "attn_q"), in, 2 * q_out, both),
                                      linear(layer_name(layer, "attn_k"), in, k_out, k_),
                                      linear(layer_name(layer, "attn_v"), in, v_out, v_)}});
  const uint32_t each = heads.key_width;
  const auto part = [&](uint32_t first, kernels::ValueId out) {
    program.ops.push_back(kernels::Arrange{.pieces = {{both, first, 2 * each, 0, each}},
                                           .out = out,
                                           .heads = heads.queries,
                                           .width = each});
  };
  part(0, q_);
  part(each, gate);
  return gate;
}

uint32_t ModelBuilder::group_of(uint32_t window) {
  std::vector<uint32_t>& windows = model_.program.windows;
  const auto found = std::ranges::find(windows, window);
  const auto group = static_cast<uint32_t>(found - windows.begin());
  if (found == windows.end()) windows.push_back(window);
  return group;
}

void ModelBuilder::attention(uint32_t layer, const AttentionOptions& options) {
  kernels::Program& program = model_.program;
  kernels::Heads heads = heads_of(layer, options.head_width);
  heads.group = group_of(options.window);
  const uint32_t cache = options.cache_of == kAbsent ? layer : options.cache_of;
  program.layers.push_back(cache == layer ? heads : kernels::Heads{});
  kernels::ValueId gate = kAbsent;
  if (options.gated) {
    gate = project_gated_qkv(layer, heads, options.residual.norm);
  } else if (cache != layer) {
    const kernels::Heads& own = program.layers[cache];
    if (own.queries != heads.queries || own.keys != heads.keys ||
        own.key_width != heads.key_width || own.group != heads.group) {
      reject("key-range", fmt::format("layer {} cannot read the cache of layer {}: their heads "
                                      "or windows differ",
                                      layer, cache));
    }
    project_q(layer, heads, options.residual.norm);
  } else if (options.normed_values) {
    project_normed_values(layer, heads, options.residual.norm);
  } else {
    project_qkv(layer, heads, options.residual.norm);
  }
  program.ops.push_back(kernels::CacheAppend{
      .q = q_,
      .k = cache == layer ? k_ : kAbsent,
      .v = cache == layer ? v_ : kAbsent,
      .q_norm = head_norm(layer_name(layer, "attn_q_norm"), heads.queries, heads.key_width,
                          options.qk_norm),
      .k_norm = head_norm(layer_name(layer, "attn_k_norm"), heads.keys, heads.key_width,
                          cache == layer ? options.qk_norm : HeadNorms{}),
      .rope = options.rope,
      .layer = cache,
      .temperature = options.temperature});
  const float usual = 1.0f / std::sqrt(static_cast<float>(heads.key_width));
  const uint64_t out_width = uint64_t{heads.queries} * heads.value_width;
  program.ops.push_back(kernels::Attention{
      .q = q_,
      .out = wide(attended_, out_width),
      .layer = cache,
      .scale = options.scale != 0 ? options.scale : usual,
      .softcap = options.softcap,
      .window = options.window,
      .sinks =
          options.sinks ? bind(layer_name(layer, "attn_sinks.weight"), {heads.queries}) : kAbsent});
  if (options.gated) {
    program.ops.push_back(kernels::GatedNorm{.x = attended_,
                                             .heads = heads.queries,
                                             .width = heads.value_width,
                                             .gate = gate,
                                             .activation = kernels::Activation::kSigmoid});
  }
  kernels::Linear out = linear(layer_name(layer, "attn_output"), out_width, config().embedding, x_);
  if (options.residual.parallel) out.out = wide(branch_, config().embedding);
  join(layer, attended_, out, options.residual, x_);
}

void ModelBuilder::join(uint32_t layer, kernels::ValueId in, kernels::Linear linear,
                        const Residual& residual, kernels::ValueId before) {
  kernels::Program& program = model_.program;
  if (residual.post_norm.empty()) {
    linear.add = before;
    linear.scale = residual.scale;
    program.ops.push_back(kernels::Projection{.in = in, .norm = {}, .outputs = {linear}});
    return;
  }
  linear.out = wide(branch_, config().embedding);
  program.ops.push_back(kernels::Projection{.in = in, .norm = {}, .outputs = {linear}});
  program.ops.push_back(kernels::AddNormed{.in = branch_,
                                           .norm = layer_norm(layer, residual.post_norm),
                                           .out = x_,
                                           .add = before,
                                           .scale = residual.scale});
}

void ModelBuilder::gated_unit(uint32_t layer, std::string_view suffix, uint64_t width,
                              const kernels::Norm& norm, kernels::Activation activation) {
  const uint64_t in = config().embedding;
  const std::string gate = layer_name(layer, fmt::format("ffn_gate{}", suffix));
  const std::string up = layer_name(layer, fmt::format("ffn_up{}", suffix));
  kernels::Projection unit{.in = x_, .norm = norm, .outputs = {}, .activation = activation};
  wide(hidden_, width);
  if (has(gate + ".weight")) {
    unit.outputs = {linear(gate, in, width, hidden_), linear(up, in, width, hidden_)};
  } else {
    const kernels::Linear fused = linear(up, in, 2 * width, hidden_);
    for (const uint64_t first : {uint64_t{0}, width}) {
      unit.outputs.push_back({.weight = rows_of(fused.weight, first, width),
                              .bias = rows_of(fused.bias, first, width),
                              .out = hidden_});
    }
  }
  model_.program.ops.push_back(std::move(unit));
}

void ModelBuilder::feed_forward(uint32_t layer, const FeedForwardOptions& options) {
  const uint64_t in = config().embedding, width = config().feed_forward[layer];
  const kernels::Norm norm = layer_norm(layer, options.residual.norm);
  if (options.gated) {
    gated_unit(layer, "", width, norm, options.activation);
  } else {
    model_.program.ops.push_back(kernels::Projection{
        .in = x_,
        .norm = norm,
        .outputs = {linear(layer_name(layer, "ffn_up"), in, width, wide(hidden_, width))},
        .activation = options.activation});
  }
  join(layer, hidden_, linear(layer_name(layer, "ffn_down"), width, in, x_), options.residual,
       options.residual.parallel ? branch_ : x_);
}

void ModelBuilder::output(float scale, float softcap, const std::string& norm_stem) {
  kernels::Program& program = model_.program;
  const uint64_t width = config().embedding;
  const auto rows = kernels::ValueInfo::Rows::kLogits;
  const kernels::ValueId gathered = program.add_value(config().embedding, rows);
  logits_ = program.add_value(config().vocabulary, rows);
  program.ops.push_back(kernels::SelectLogitRows{x_, gathered});
  const bool tied = !has("output.weight");
  kernels::Linear head{
      .weight = tied ? embedding_ : bind("output.weight", {width, config().vocabulary}),
      .bias = bind_if_present("output.bias", {config().vocabulary}),
      .out = logits_,
      .scale = scale};
  // No later layer evens out an error of the logits: with a rounded input, the head alone would
  // make up more than a third of what all rounding does to the probabilities (docs/performance.md).
  program.ops.push_back(kernels::Projection{
      .in = gathered, .norm = norm(norm_stem, width), .outputs = {head}, .planes = 2});
  if (softcap > 0) program.ops.push_back(kernels::SoftCap{logits_, softcap});
}

// Tensors of the layers must all be understood; others (vision, further heads) are only named.
void ModelBuilder::check_tensors() {
  used_.insert({"rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"});
  std::vector<std::string> unused;
  for (const gguf::TensorView& tensor : file_.tensors()) {
    if (used_.contains(tensor.name)) continue;
    if (matters(tensor.name, config().layers)) {
      reject("tensor-unknown", fmt::format("tensor {} is not known for {}", escape(tensor.name),
                                           escape(config().architecture)));
    }
    unused.push_back(escape(tensor.name));
  }
  if (unused.empty()) return;
  const size_t shown = std::min<size_t>(unused.size(), 3);
  model_.warnings.push_back(fmt::format(
      "{} tensors are not used by {}: {}{}", unused.size(), config().architecture,
      fmt::join(unused.begin(), unused.begin() + static_cast<std::ptrdiff_t>(shown), ", "),
      shown < unused.size() ? ", …" : ""));
}

Result<Model> ModelBuilder::finish() {
  keys_.reject_unread(kGraphKeys);
  QUERN_CHECK(keys_.status());
  check_tensors();
  if (error_) return tl::unexpected(*error_);
  model_.program.finish(logits_);
  for (const StackedWeight& stacked : model_.stacked) {
    model_.weights[stacked.weight].name = model_.program.weights[stacked.weight].name;
  }
  return std::move(model_);
}

}  // namespace quern::engine::models
