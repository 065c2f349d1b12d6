#include "kernels/vulkan/workspace.h"

#include <algorithm>

#include "kernels/vulkan/attention.h"
#include "shaders/shared.h"

namespace quern::kernels::vulkan {
namespace {

uint64_t value_bytes(const ValueInfo& value, const MaxBatch& max) {
  const uint64_t rows = value.rows == ValueInfo::Rows::kBatch ? max.rows : max.logit_rows;
  return rows * value.width * sizeof(float);
}

// The widest gate of a projection, in bytes.
uint64_t gate_bytes(const Program& program, const MaxBatch& max) {
  uint64_t widest = 0;
  for (const Op& op : program.ops) {
    const auto* projection = std::get_if<Projection>(&op);
    if (!projection || projection->activation == Activation::kNone) continue;
    widest = std::max(widest, program.weights[projection->outputs[0].weight].out());
  }
  return widest * max.rows * sizeof(float);
}

// The widest input of products behind a layer norm, in bytes.
uint64_t normed_bytes(const Program& program, const MaxBatch& max) {
  uint64_t widest = 0;
  const auto take = [&](const Norm& norm, WeightId weight) {
    if (norm.kind == Norm::Kind::kLayer) widest = std::max(widest, program.weights[weight].in());
  };
  for (const Op& op : program.ops) {
    if (const auto* projection = std::get_if<Projection>(&op)) {
      take(projection->norm, projection->outputs[0].weight);
    } else if (const auto* experts = std::get_if<Experts>(&op)) {
      take(experts->norm, experts->router);
    }
  }
  return widest * std::max(max.rows, max.logit_rows) * sizeof(float);
}

// The tiles of products with the most heads.
uint64_t head_tile_bytes(const Program& program, const MaxBatch& max) {
  uint64_t heads = 0;
  for (const Op& op : program.ops) {
    if (const auto* product = std::get_if<HeadProduct>(&op)) {
      heads = std::max(heads, program.weights[product->weight].shape[2]);
    }
  }
  return heads * max.rows * sizeof(shaders::ExpertTile);
}

// The most that any mixture of experts keeps.
ExpertBytes most_expert_bytes(const Program& program, const MaxBatch& max) {
  ExpertBytes most = {};
  for (const Op& op : program.ops) {
    const auto* experts = std::get_if<Experts>(&op);
    if (!experts) continue;
    const ExpertBytes bytes = expert_bytes(program, *experts, max.rows);
    std::ranges::transform(most, bytes, most.begin(),
                           [](uint64_t a, uint64_t b) { return std::max(a, b); });
  }
  return most;
}

}  // namespace

Workspace::Workspace(const Program& program, const MaxBatch& max, uint64_t max_allocation)
    : arena_(max_allocation), upload_(max_allocation), readback_(max_allocation) {
  for (const ValueInfo& value : program.values) arena_.add(value_bytes(value, max));
  uint64_t input = 0, output = 0;
  for (const Part& part : program.parts) {
    if (part.input != kAbsent)
      input = std::max(input, value_bytes(program.values[part.input], max));
    const ValueInfo& value = program.values[part.output];
    output = std::max(output, value_bytes(value, max));
    if (value.rows == ValueInfo::Rows::kLogits) {
      const uint64_t best = std::min(value.width, kMostTopLogits);
      output = std::max(output, max.logit_rows * best * sizeof(TopLogit));
    }
  }
  upload_.add(input);
  readback_.add(output);
  gate_ = arena_.add(gate_bytes(program, max));
  normed_ = arena_.add(normed_bytes(program, max));
  experts_ = arena_.size();
  for (const uint64_t bytes : most_expert_bytes(program, max)) arena_.add(bytes);
  head_tiles_ = arena_.add(head_tile_bytes(program, max));
  uint64_t partials = 0, counters = 0;
  for (const Heads& heads : program.layers) {
    partials = std::max(partials, most_partial_bytes(heads, max));
    counters = std::max(counters, most_counter_bytes(heads, max));
  }
  partials_ = arena_.add(partials);
  counters_ = arena_.add(counters);
}

Workspace::Bytes Workspace::bytes(const Program& program, const MaxBatch& max,
                                  uint64_t max_allocation) {
  const Workspace plan(program, max, max_allocation);
  return {plan.arena_.bytes(), plan.upload_.bytes(), plan.readback_.bytes(),
          std::max({plan.arena_.largest(), plan.upload_.largest(), plan.readback_.largest()})};
}

Result<Workspace> Workspace::make(Device& device, const Program& program, const MaxBatch& max) {
  Workspace workspace(program, max, device.caps().max_allocation);
  QUERN_CHECK(workspace.arena_.allocate(device, Memory::kDevice));
  QUERN_CHECK(workspace.upload_.allocate(device, Memory::kUpload));
  QUERN_CHECK(workspace.readback_.allocate(device, Memory::kReadback));
  const std::vector<std::byte> zeros(workspace.counters().bytes);
  QUERN_CHECK(workspace.arena_.buffer(workspace.counters_)
                  .upload(workspace.arena_.offset(workspace.counters_), zeros));
  return workspace;
}

std::span<float> Workspace::input() {
  std::byte* start = upload_.buffer(0).mapped() + upload_.offset(0);
  return {reinterpret_cast<float*>(start), upload_.range(0).bytes / sizeof(float)};
}

std::span<const float> Workspace::output() const {
  const std::byte* start = readback_.buffer(0).mapped() + readback_.offset(0);
  return {reinterpret_cast<const float*>(start), readback_.range(0).bytes / sizeof(float)};
}

}  // namespace quern::kernels::vulkan
