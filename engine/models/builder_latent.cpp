// The latent attention of a ModelBuilder (DeepSeek-AI 2024, "DeepSeek-V2", section 2.1), absorbed.
#include "engine/models/builder.h"

namespace quern::engine::models {

using kernels::Arrange;
using kernels::ValueId;

ModelBuilder::LatentRows ModelBuilder::project_latent(uint32_t layer,
                                                      const LatentOptions& options) {
  kernels::Program& program = model_.program;
  const auto name = [&](const char* stem) { return layer_name(layer, stem); };
  const uint64_t in = config().embedding, rank = options.query_rank;
  const uint64_t q_out = config().heads[layer] * options.key_width;
  const uint64_t kv_out = uint64_t{options.latent} + options.rope_width;
  const ValueId q = exactly("latent q", q_out), kv = exactly("latent kv", kv_out);
  const ValueId narrow = rank > 0 ? exactly("narrow q", rank) : q;
  program.ops.push_back(
      kernels::Projection{.in = x_,
                          .norm = layer_norm(layer, "attn_norm"),
                          .outputs = {rank > 0 ? linear(name("attn_q_a"), in, rank, narrow)
                                               : linear(name("attn_q"), in, q_out, q),
                                      linear(name("attn_kv_a_mqa"), in, kv_out, kv)}});
  if (rank > 0) {
    program.ops.push_back(
        kernels::Projection{.in = narrow,
                            .norm = norm(name("attn_q_a_norm"), rank),
                            .outputs = {linear(name("attn_q_b"), rank, q_out, q)}});
  }
  return {q, kv};
}

ModelBuilder::LatentWeights ModelBuilder::bind_latent(uint32_t layer,
                                                      const LatentOptions& options) {
  const auto name = [&](const char* stem) { return layer_name(layer, stem) + ".weight"; };
  const uint64_t heads = config().heads[layer], latent = options.latent;
  const uint64_t plain = options.key_width - options.rope_width, value = options.value_width;
  const std::string k_b = name("attn_k_b"), v_b = name("attn_v_b"), fused = name("attn_kv_b");
  if (has(k_b) || !has(fused)) {
    return {bind(k_b, {plain, latent, heads}), bind(v_b, {latent, value, heads})};
  }
  const gguf::TensorView* rows = use(fused, {latent, heads * (plain + value), 1, 1});
  if (!rows) return {kernels::kAbsent, kernels::kAbsent};
  const uint64_t step = plain + value;
  return {bind_slices(*rows, k_b, {0, plain, step, heads, true}),
          bind_slices(*rows, v_b, {plain, value, step, heads, false})};
}

void ModelBuilder::latent_attention(uint32_t layer, const LatentOptions& options) {
  kernels::Program& program = model_.program;
  const auto name = [&](std::string_view stem) { return layer_name(layer, stem); };
  const auto heads = static_cast<uint32_t>(config().heads[layer]);
  const uint32_t latent = options.latent, turned = options.rope_width;
  const uint32_t plain = options.key_width - turned, key = turned + latent;
  program.layers.push_back({heads, 1, key, latent, 0, true});
  const LatentWeights weights = bind_latent(layer, options);
  const auto [q, kv] = project_latent(layer, options);
  const auto arrange = [&](const char* use, std::vector<Arrange::Piece> pieces, uint32_t count,
                           uint32_t width) {
    const ValueId out = exactly(use, uint64_t{count} * width);
    program.ops.push_back(Arrange{std::move(pieces), out, count, width});
    return out;
  };
  const auto head_product = [&](ValueId in, const char* use, uint64_t width,
                                kernels::WeightId weight) {
    const ValueId out = exactly(use, heads * width);
    program.ops.push_back(kernels::HeadProduct{in, out, weight});
    return out;
  };
  // The position's vector, and its key: the turned part first, where rope finds it.
  const ValueId c = arrange("latent", {{kv, 0, 0, 0, latent}}, 1, latent);
  program.ops.push_back(kernels::GatedNorm{.x = c,
                                           .heads = 1,
                                           .width = latent,
                                           .normalized = true,
                                           .norm = {norm(name("attn_kv_a_norm"), latent)}});
  const ValueId k =
      arrange("latent k", {{kv, latent, 0, 0, turned}, {c, 0, 0, turned, latent}}, 1, key);
  const ValueId plain_q = arrange("plain q", {{q, 0, options.key_width, 0, plain}}, heads, plain);
  const ValueId absorbed = head_product(plain_q, "absorbed plain q", latent, weights.keys);
  const ValueId queries =
      arrange("absorbed q",
              {{q, plain, options.key_width, 0, turned}, {absorbed, 0, latent, turned, latent}},
              heads, key);
  const ValueId attended = exactly("attended latents", uint64_t{heads} * latent);
  program.ops.push_back(kernels::CacheAppend{.q = queries,
                                             .k = k,
                                             .v = kernels::kAbsent,
                                             .q_norm = {},
                                             .k_norm = {},
                                             .rope = 0,
                                             .layer = layer,
                                             .temperature = options.temperature});
  program.ops.push_back(
      kernels::Attention{.q = queries, .out = attended, .layer = layer, .scale = options.scale});
  const ValueId values =
      head_product(attended, "latent values", options.value_width, weights.values);
  join(layer, values,
       linear(name("attn_output"), uint64_t{heads} * options.value_width, config().embedding, x_),
       {.norm = {}}, x_);
}

}  // namespace quern::engine::models
