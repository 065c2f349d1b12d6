#include "engine/plan_speed.h"

#include <algorithm>
#include <variant>

#include "kernels/cpu_sizes.h"

namespace quern::engine {
namespace {

// The share of the machine's peaks that attention reaches, while decoding and in a prompt.
constexpr double kCacheShare = 0.5, kAttentionShare = 0.25;

}  // namespace

TokenWork token_work(const Model& model, kernels::CacheType cache) {
  const kernels::Program& program = model.program;
  TokenWork work{};
  const auto read = [&](kernels::WeightId id, double share) {
    const kernels::WeightInfo& weight = program.weights[id];
    work.weight_bytes += share * static_cast<double>(weight.bytes());
    work.matmul_operations +=
        share * 2.0 * static_cast<double>(weight.in() * weight.out() * weight.shape[2]);
  };
  for (const kernels::Op& op : program.ops) {
    if (const auto* projection = std::get_if<kernels::Projection>(&op)) {
      for (const kernels::Linear& linear : projection->outputs) read(linear.weight, 1);
    } else if (const auto* experts = std::get_if<kernels::Experts>(&op)) {
      const double used =
          experts->used / static_cast<double>(program.weights[experts->gate].shape[2]);
      read(experts->router, 1);
      for (const auto id : {experts->gate, experts->up, experts->down}) read(id, used);
    } else if (const auto* attention = std::get_if<kernels::Attention>(&op)) {
      const kernels::Heads& heads = program.layers[attention->layer];
      work.attention_operations += 2.0 * heads.queries * (heads.key_width + heads.value_width);
    }
  }
  work.cache_bytes = static_cast<double>(kernels::cpu_cache_block_bytes(program, cache)) /
                     kernels::kBlockPositions;
  return work;
}

Speed predict_speed(const TokenWork& work, const MachineSpeeds& machine, uint32_t positions) {
  const double n = positions;
  const double decode = work.weight_bytes / machine.rates.decode_bytes +
                        work.cache_bytes * n / (kCacheShare * machine.peaks.read_bandwidth_all);
  const double prefill =
      work.matmul_operations / machine.rates.prefill_operations +
      work.attention_operations * n / 2 / (kAttentionShare * machine.peaks.fp32_peak);
  return {1 / decode, 1 / prefill};
}

}  // namespace quern::engine
