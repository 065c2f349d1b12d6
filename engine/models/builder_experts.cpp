// The mixtures of experts of a ModelBuilder.
#include <fmt/format.h>

#include <cmath>

#include "engine/models/builder.h"

namespace quern::engine::models {

using kernels::kAbsent;

kernels::WeightId ModelBuilder::bind_experts(uint32_t layer, std::string_view stem, uint64_t in,
                                             uint64_t out) {
  const std::string whole = layer_name(layer, fmt::format("{}_exps.weight", stem));
  const auto piece_name = [&](uint32_t expert) {
    return layer_name(layer, fmt::format("{}.{}.weight", stem, expert));
  };
  const uint32_t count = config().experts;
  if (has(whole) || !has(piece_name(0))) return bind(whole, {in, out, count});
  std::vector<gguf::TensorView> pieces;
  for (uint32_t expert = 0; expert < count; ++expert) {
    const gguf::TensorView* piece = use(piece_name(expert), {in, out, 1, 1});
    if (!piece) return kAbsent;
    pieces.push_back(*piece);
    if (piece->format == pieces[0].format) continue;
    reject("tensor-shape", fmt::format("tensor {}: type {}, but {} has {}", escape(piece->name),
                                       info(piece->format).name, escape(pieces[0].name),
                                       info(pieces[0].format).name));
    return kAbsent;
  }
  gguf::TensorView stacked = pieces[0];
  stacked.dims = 3;
  stacked.bytes = {};
  const kernels::WeightId id = add(stacked, {in, out, count, 1});
  model_.program.weights[id].name = whole;
  model_.stacked.push_back({id, std::move(pieces)});
  return id;
}

void ModelBuilder::bind_gates_and_ups(uint32_t layer, uint64_t width, kernels::Experts& op) {
  const uint64_t in = config().embedding, count = config().experts;
  const auto name = [&](const char* stem) { return layer_name(layer, stem); };
  if (!layer_has(layer, "ffn_gate_up_exps.weight")) {
    op.gate = bind_experts(layer, "ffn_gate", in, width);
    op.up = bind_experts(layer, "ffn_up", in, width);
    op.gate_bias = bind_flat(name("ffn_gate_exps.bias"), {width, count});
    op.up_bias = bind_flat(name("ffn_up_exps.bias"), {width, count});
    return;
  }
  op.gate = op.up = bind(name("ffn_gate_up_exps.weight"), {in, 2 * width, count});
  op.gate_bias = op.up_bias = bind_flat(name("ffn_gate_up_exps.bias"), {2 * width, count});
  if (op.gate == kAbsent) return;
  const std::array<uint64_t, 4> pairs = {in, width, 2 * count, 1};
  model_.weights[op.gate].shape = pairs;
  model_.program.weights[op.gate].shape = pairs;
}

kernels::Experts ModelBuilder::mixture(uint32_t layer, const ExpertsOptions& options) {
  const uint64_t in = config().embedding, count = config().experts;
  const uint64_t width = options.width > 0 ? options.width : config().feed_forward[layer];
  const auto name = [&](const char* stem) { return layer_name(layer, stem); };
  kernels::Experts op{.in = x_,
                      .norm = layer_norm(layer, options.residual.norm),
                      .router = bind(name("ffn_gate_inp.weight"), {in, count}),
                      .gate = kAbsent,
                      .up = kAbsent,
                      .down = bind_experts(layer, "ffn_down", width, in),
                      .used = config().experts_used,
                      .out = x_,
                      .add = x_,
                      .routing = options.routing,
                      .activation = options.activation,
                      .down_bias = bind_flat(name("ffn_down_exps.bias"), {in, count})};
  bind_gates_and_ups(layer, width, op);
  op.routing.bias = bind_if_present(name("ffn_gate_inp.bias"), {count});
  op.routing.selection_bias = bind_if_present(name("exp_probs_b.bias"), {count});
  op.routing.scale *= options.residual.scale;
  return op;
}

void ModelBuilder::experts(uint32_t layer, const ExpertsOptions& options) {
  const uint64_t in = config().embedding;
  const auto name = [&](const char* stem) { return layer_name(layer, stem); };
  kernels::Experts op = mixture(layer, options);
  if (options.shared_width == 0) {
    model_.program.ops.push_back(op);
    return;
  }
  // Everything that reads x comes before it changes.
  op.out = wide(branch_, in);
  gated_unit(layer, "_shexp", options.shared_width, op.norm, options.activation);
  kernels::Linear down = linear(name("ffn_down_shexp"), options.shared_width, in, x_);
  if (options.shared_gate) {
    const kernels::Linear gate{.weight = bind(name("ffn_gate_inp_shexp.weight"), {in}),
                               .out = wide(gate_, 1)};
    down.gate = gate_;
    model_.program.ops.push_back(kernels::Projection{
        .in = x_, .norm = op.norm, .outputs = {gate}, .activation = kernels::Activation::kSigmoid});
  }
  model_.program.ops.push_back(op);
  join(layer, hidden_, down, {.norm = {}, .scale = options.residual.scale}, branch_);
}

void ModelBuilder::dense_and_experts(uint32_t layer, const ExpertsOptions& options) {
  kernels::Program& program = model_.program;
  const uint64_t in = config().embedding, width = config().feed_forward[layer];
  const auto name = [&](const char* stem) { return layer_name(layer, stem); };
  const kernels::ValueId dense = exactly("dense branch", in), mixed = exactly("experts", in);
  gated_unit(layer, "", width, layer_norm(layer, "ffn_norm"), options.activation);
  program.ops.push_back(kernels::Projection{
      .in = hidden_, .norm = {}, .outputs = {linear(name("ffn_down"), width, in, dense)}});
  kernels::Experts op = mixture(layer, options);
  op.out = mixed;
  op.add = kAbsent;
  op.routing.norm = {.weight = bind(name("ffn_gate_inp.scale"), {in}),
                     .epsilon = config().norm_epsilon};
  op.routing.logit_scale = 1 / std::sqrt(static_cast<float>(in));
  op.routing.factors = bind_if_present(name("ffn_down_exps.scale"), {config().experts});
  program.ops.push_back(op);
  program.ops.push_back(kernels::GatedNorm{.x = dense,
                                           .heads = 1,
                                           .width = config().embedding,
                                           .normalized = true,
                                           .norm = {layer_norm(layer, "post_ffw_norm_1")}});
  program.ops.push_back(kernels::AddNormed{
      .in = mixed, .norm = layer_norm(layer, "post_ffw_norm_2"), .out = dense, .add = dense});
  program.ops.push_back(kernels::AddNormed{
      .in = dense, .norm = layer_norm(layer, options.residual.post_norm), .out = x_, .add = x_});
}

}  // namespace quern::engine::models
