// The blocks of a ModelBuilder that carry a recurrent state instead of keys and values.
#include "engine/models/builder.h"

namespace quern::engine::models {

using kernels::Linear;
using kernels::ValueId;

void ModelBuilder::short_conv(uint32_t layer, uint32_t taps) {
  kernels::Program& program = model_.program;
  program.layers.push_back({});
  const auto name = [&](const char* stem) { return layer_name(layer, stem); };
  const uint64_t width = config().embedding;
  const kernels::WeightId in = bind(name("shortconv.in_proj.weight"), {width, 3 * width});
  kernels::Projection projection{.in = x_, .norm = layer_norm(layer, "attn_norm"), .outputs = {}};
  const ValueId b = exactly("b", width), c = exactly("c", width), x = exactly("conv in", width);
  uint64_t first = 0;
  for (const ValueId part : {b, c, x}) {
    projection.outputs.push_back({.weight = rows_of(in, first, width), .out = part});
    first += width;
  }
  program.ops.push_back(std::move(projection));
  const kernels::CausalConv conv{
      .in = x,
      .out = exactly("conv", width),
      .weight = bind_flat(name("shortconv.conv.weight"), {taps, width}),
      .taps = taps,
      .state = program.add_state(static_cast<uint32_t>((taps - 1) * width)),
      .before = b,
      .after = c};
  program.ops.push_back(conv);
  join(layer, conv.out, linear(name("shortconv.out_proj"), width, width, x_), {.norm = {}}, x_);
}

ValueId ModelBuilder::ssm_conv(uint32_t layer, ValueId in, uint64_t width, uint32_t taps) {
  kernels::Program& program = model_.program;
  const kernels::CausalConv conv{
      .in = in,
      .out = exactly("conv", width),
      .weight = bind_flat(layer_name(layer, "ssm_conv1d.weight"), {taps, width}),
      .taps = taps,
      .state = program.add_state(static_cast<uint32_t>((taps - 1) * width)),
      .bias = bind_if_present(layer_name(layer, "ssm_conv1d.bias"), {width}),
      .activation = kernels::Activation::kSilu};
  program.ops.push_back(conv);
  return conv.out;
}

void ModelBuilder::delta_net(uint32_t layer, const DeltaNetOptions& options) {
  kernels::Program& program = model_.program;
  program.layers.push_back({});
  const auto name = [&](const char* stem) { return layer_name(layer, stem); };
  const uint64_t in = config().embedding, heads = options.value_heads;
  const uint64_t inner = heads * options.width;
  const uint64_t mixed = 2 * uint64_t{options.key_heads} * options.width + inner;
  const ValueId qkv = exactly("conv in", mixed), z = exactly("z", inner);
  const ValueId decay = exactly("decay", heads), beta = exactly("beta", heads);
  program.ops.push_back(kernels::Projection{
      .in = x_,
      .norm = layer_norm(layer, "attn_norm"),
      .outputs = {linear(name("attn_qkv"), in, mixed, qkv), linear(name("attn_gate"), in, inner, z),
                  linear(name("ssm_alpha"), in, heads, decay),
                  linear(name("ssm_beta"), in, heads, beta)}});
  const kernels::GatedDelta delta{
      .mixed = ssm_conv(layer, qkv, mixed, options.taps),
      .decay = decay,
      .beta = beta,
      .out = exactly("recurrent", inner),
      .a = bind(name("ssm_a"), {heads}),
      .decay_bias = bind(name("ssm_dt.bias"), {heads}),
      .key_heads = options.key_heads,
      .value_heads = options.value_heads,
      .width = options.width,
      .epsilon = config().norm_epsilon,
      .state = program.add_state(static_cast<uint32_t>(inner * options.width))};
  program.ops.push_back(delta);
  program.ops.push_back(kernels::GatedNorm{.x = delta.out,
                                           .heads = options.value_heads,
                                           .width = options.width,
                                           .normalized = true,
                                           .norm = {norm(name("ssm_norm"), options.width)},
                                           .gate = z,
                                           .activation = kernels::Activation::kSilu});
  join(layer, delta.out, linear(name("ssm_out"), inner, in, x_), {.norm = {}}, x_);
}

void ModelBuilder::mamba2(uint32_t layer, const Mamba2Options& options) {
  kernels::Program& program = model_.program;
  program.layers.push_back({});
  const auto name = [&](const char* stem) { return layer_name(layer, stem); };
  const uint64_t in = config().embedding, heads = options.heads, groups = options.groups;
  const uint64_t inner = heads * options.width, mixed = inner + 2 * groups * options.state_width;
  const ValueId z = exactly("z", inner), xbc = exactly("conv in", mixed);
  const ValueId step = exactly("step", heads);
  const Linear all = linear(name("ssm_in"), in, inner + mixed + heads, z);
  kernels::Projection projection{.in = x_, .norm = layer_norm(layer, "attn_norm"), .outputs = {}};
  uint64_t first = 0;
  for (const auto& [out, count] : {std::pair(z, inner), {xbc, mixed}, {step, heads}}) {
    projection.outputs.push_back({.weight = rows_of(all.weight, first, count),
                                  .bias = rows_of(all.bias, first, count),
                                  .out = out});
    first += count;
  }
  program.ops.push_back(std::move(projection));
  const kernels::SelectiveScan scan{
      .mixed = ssm_conv(layer, xbc, mixed, options.taps),
      .step = step,
      .out = exactly("recurrent", inner),
      .a = bind_flat(name("ssm_a"), {1, heads}),
      .step_bias = bind(name("ssm_dt.bias"), {heads}),
      .skip = bind_flat(name("ssm_d"), {1, heads}),
      .heads = options.heads,
      .width = options.width,
      .groups = options.groups,
      .state_width = options.state_width,
      .state = program.add_state(static_cast<uint32_t>(inner * options.state_width))};
  program.ops.push_back(scan);
  const kernels::HeadNorm norm{
      .norm = {.weight = bind_flat(name("ssm_norm.weight"), {inner / groups, groups}),
               .epsilon = config().norm_epsilon},
      .over = kernels::HeadNorm::Over::kOwnHead};
  program.ops.push_back(kernels::GatedNorm{.x = scan.out,
                                           .heads = options.groups,
                                           .width = static_cast<uint32_t>(inner / groups),
                                           .normalized = true,
                                           .norm = norm,
                                           .gate = z,
                                           .activation = kernels::Activation::kSilu,
                                           .gate_first = true});
  join(layer, scan.out, linear(name("ssm_out"), inner, in, x_),
       {.norm = {}, .scale = options.scale}, x_);
}

}  // namespace quern::engine::models
