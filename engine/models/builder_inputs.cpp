// Blocks of a ModelBuilder that give every layer an input of its own (Gemma 3n and 4).
#include <cmath>
#include <cstring>

#include "engine/models/builder.h"

namespace quern::engine::models {

using kernels::Activation;
using kernels::ValueId;

void ModelBuilder::layer_inputs(uint32_t width) {
  kernels::Program& program = model_.program;
  const uint64_t in = config().embedding, all = uint64_t{config().layers} * width;
  const ValueId of_token = exactly("token inputs", all), inputs = exactly("layer inputs", all);
  program.ops.push_back(
      kernels::Embed{.table = bind("per_layer_token_embd.weight", {all, config().vocabulary}),
                     .out = of_token,
                     .scale = std::sqrt(static_cast<float>(width) / 2)});
  kernels::Linear projection = linear("per_layer_model_proj", in, all, inputs);
  projection.scale = 1 / std::sqrt(static_cast<float>(in));
  program.ops.push_back(kernels::Projection{.in = x_, .norm = {}, .outputs = {projection}});
  program.ops.push_back(kernels::GatedNorm{.x = inputs,
                                           .heads = config().layers,
                                           .width = width,
                                           .normalized = true,
                                           .norm = {norm("per_layer_proj_norm", width)},
                                           .scale = std::sqrt(0.5f)});
  program.ops.push_back(
      kernels::AddNormed{.in = of_token, .norm = {}, .out = inputs, .add = inputs});
}

void ModelBuilder::add_layer_input(uint32_t layer, uint32_t width) {
  kernels::Program& program = model_.program;
  const uint64_t in = config().embedding;
  const ValueId inputs = exactly("layer inputs", uint64_t{config().layers} * width);
  const ValueId own = exactly("layer input", width), gated = exactly("gated input", width);
  program.ops.push_back(
      kernels::Projection{.in = x_,
                          .norm = {},
                          .outputs = {linear(layer_name(layer, "inp_gate"), in, width, gated)},
                          .activation = Activation::kGelu});
  program.ops.push_back(kernels::Arrange{
      .pieces = {{inputs, layer * width, 0, 0, width}}, .out = own, .heads = 1, .width = width});
  program.ops.push_back(kernels::GatedNorm{.x = gated, .heads = 1, .width = width, .gate = own});
  join(layer, gated, linear(layer_name(layer, "proj"), width, in, x_),
       {.norm = {}, .post_norm = "post_norm"}, x_);
}

void ModelBuilder::scale_layer(uint32_t layer) {
  const std::string name = layer_name(layer, "layer_output_scale.weight");
  if (!has(name)) return;
  const gguf::TensorView* tensor = file_.find_tensor(name);
  if (bind(name, {1}) == kernels::kAbsent) return;
  if (tensor->format != gguf::Format::F32) {
    return reject("tensor-shape", "tensor " + escape(name) + " must be of type F32");
  }
  float scale;
  std::memcpy(&scale, tensor->bytes.data(), sizeof scale);
  model_.program.ops.push_back(
      kernels::GatedNorm{.x = x_, .heads = 1, .width = config().embedding, .scale = scale});
}

}  // namespace quern::engine::models
