// Mixtures of experts as dispatches: router, choice, gated products, down products, sum.
#include <algorithm>

#include "kernels/vulkan/experts.h"
#include "kernels/vulkan/op_recorder.h"
#include "shaders/shared.h"

namespace quern::kernels::vulkan {
namespace {

constexpr uint32_t kWidth = 64;        // invocations per workgroup
constexpr uint32_t kListsWidth = 256;  // of the one that sorts

}  // namespace

uint32_t expert_tiles(uint32_t slots, uint32_t experts) {
  return slots / shaders::kMatmulTile + std::min(slots, experts);
}

ExpertBytes expert_bytes(const Program& program, const Experts& op, uint32_t rows) {
  const uint64_t experts = program.weights[op.router].out(), slots = uint64_t{rows} * op.used;
  const uint64_t hidden = program.weights[op.gate].out(), out = program.weights[op.down].out();
  ExpertBytes bytes = {};
  bytes[kRouterLogits] = rows * experts * sizeof(float);
  bytes[kChoices] = slots * sizeof(shaders::ExpertTile);
  bytes[kShares] = slots * sizeof(float);
  bytes[kIndices] = slots * sizeof(uint32_t);
  bytes[kTiles] = expert_tiles(static_cast<uint32_t>(slots), static_cast<uint32_t>(experts)) *
                  sizeof(shaders::ExpertTile);
  if (op.gate == op.up) bytes[kDoubledTiles] = std::max(bytes[kTiles], bytes[kChoices]);
  bytes[kGate] = bytes[kHidden] = slots * hidden * sizeof(float);
  bytes[kProducts] = slots * out * sizeof(float);
  return bytes;
}

// What the dispatches of one mixture share.
struct OpRecorder::Mixture {
  const Experts& op;
  Range in;  // the rows, after a layer norm if there is one
  uint32_t slots;
  ExpertBytes bytes;
  bool sorted;  // by expert, for the tiled shader
};

Range OpRecorder::part_of(const Mixture& mixture, ExpertPart part) const {
  return {b_.workspace.experts(part).address, mixture.bytes[part]};
}

Status OpRecorder::operate(const Experts& op) {
  const uint32_t experts = static_cast<uint32_t>(b_.program.weights[op.router].out());
  if (experts > shaders::kMaxExperts || op.used >= shaders::kSlotsPerRow) {
    return unsupported("so many experts");
  }
  if (op.routing.norm.kind != Norm::Kind::kRms) return unsupported("routers with a layer norm");
  QUERN_TRY(const Range in, normed_input(op.in, op.norm, b_.program.weights[op.router].in()));
  const bool tiled = offers_tiled(op.gate) && offers_tiled(op.up) && offers_tiled(op.down);
  const Mixture mixture = {op, in, shape_.rows * op.used, expert_bytes(b_.program, op, shape_.rows),
                           shape_.rows > shaders::kMatvecRows && tiled};
  QUERN_CHECK(choose_experts(mixture));
  if (op.gate == op.up) {
    QUERN_CHECK(double_tiles(mixture));
  }
  QUERN_CHECK(multiply_experts(mixture));
  return sum_experts(mixture);
}

Status OpRecorder::choose_experts(const Mixture& mixture) {
  const Experts& op = mixture.op;
  const auto experts = static_cast<uint32_t>(b_.program.weights[op.router].out());
  const Range logits = part_of(mixture, kRouterLogits), choices = part_of(mixture, kChoices);
  const Range shares = part_of(mixture, kShares);
  Product router = {.weight = op.router, .rows = shape_.rows};
  const bool own_norm = op.routing.norm.weight != kAbsent;
  const Range in =
      own_norm ? rows(op.in, shape_.rows, b_.program.weights[op.router].in()) : mixture.in;
  router.push.x = in.address;
  fuse_norm(own_norm ? op.routing.norm : op.norm, router.push);
  router.push.bias = b_.weights.address_or_null(op.routing.bias);
  router.push.scale = op.routing.logit_scale;
  router.push.out_rows = logits.address;
  router.access = {{in}, {logits}};
  QUERN_CHECK(multiply(router));

  QUERN_TRY(const Kernel* route, b_.device.kernel("route", kWidth));
  const shaders::RoutePush push = {
      .logits = logits.address,
      .selection_bias = b_.weights.address_or_null(op.routing.selection_bias),
      .factors = b_.weights.address_or_null(op.routing.factors),
      .tiles = choices.address,
      .shares = shares.address,
      .experts = experts,
      .used = op.used,
      .groups = op.routing.groups,
      .groups_used = op.routing.groups_used,
      .sigmoid = op.routing.gate == Routing::Gate::kSigmoid,
      .normalized = op.routing.normalized,
      .scale = op.routing.scale};
  recorder_.dispatch(*route, push, {.x = shape_.rows}, {{logits}, {choices, shares}});
  if (!mixture.sorted) return {};

  QUERN_TRY(const Kernel* sort, b_.device.kernel("expert_lists", kListsWidth));
  const Range indices = part_of(mixture, kIndices), tiles = part_of(mixture, kTiles);
  const shaders::ExpertListsPush lists = {.choices = choices.address,
                                          .indices = indices.address,
                                          .tiles = tiles.address,
                                          .slots = mixture.slots,
                                          .experts = experts,
                                          .tile_count = expert_tiles(mixture.slots, experts)};
  recorder_.dispatch(*sort, lists, {}, {{choices}, {indices, tiles}});
  return {};
}

// Gate and up lie one after the other: expert e has the matrices 2e and 2e + 1.
Status OpRecorder::double_tiles(const Mixture& mixture) {
  QUERN_TRY(const Kernel* kernel, b_.device.kernel("double_tiles", kWidth));
  const Range tiles = part_of(mixture, mixture.sorted ? kTiles : kChoices);
  const Range doubled = {part_of(mixture, kDoubledTiles).address, tiles.bytes};
  const auto count = static_cast<uint32_t>(tiles.bytes / sizeof(shaders::ExpertTile));
  const shaders::DoubleTilesPush push = {tiles.address, doubled.address, count};
  recorder_.dispatch(*kernel, push, {(count + kWidth - 1) / kWidth}, {{tiles}, {doubled}});
  return {};
}

// Bytes of one of the two matrices of an expert.
uint64_t OpRecorder::fused_bytes(const Experts& op) const {
  const WeightInfo& weight = b_.program.weights[op.gate];
  return gguf::info(weight.format).row_bytes(weight.in()) * weight.out();
}

// A product of every slot's expert with x; `sharing` slots share a row of it.
OpRecorder::Product OpRecorder::expert_product(const Mixture& mixture, WeightId weight,
                                               const Range& x, uint32_t sharing,
                                               const Range& out) const {
  const auto experts = static_cast<uint32_t>(b_.program.weights[mixture.op.router].out());
  const Range tiles = part_of(mixture, mixture.sorted ? kTiles : kChoices);
  Product product = {.weight = weight, .rows = mixture.slots};
  product.tiles = mixture.sorted ? expert_tiles(mixture.slots, experts) : mixture.slots;
  product.push.x = x.address;
  product.push.out_rows = out.address;
  product.push.tiles = tiles.address;
  product.push.activation = sharing * shaders::kSlotsPerRow;
  product.access = {{x, tiles}, {out}};
  if (mixture.sorted) {
    product.push.indices = part_of(mixture, kIndices).address;
    product.access.reads.push_back(part_of(mixture, kIndices));
  }
  return product;
}

Status OpRecorder::multiply_experts(const Mixture& mixture) {
  const Experts& op = mixture.op;
  const Range hidden = part_of(mixture, kHidden), gate = part_of(mixture, kGate);
  const bool together = b_.program.weights[op.gate].format == b_.program.weights[op.up].format;
  Product product = expert_product(mixture, op.gate, mixture.in, op.used, together ? hidden : gate);
  fuse_norm(op.norm, product.push);
  product.push.bias = b_.weights.address_or_null(op.gate_bias);
  if (together) {
    product.push.up = b_.weights.address(op.up);
    product.push.up_bias = b_.weights.address_or_null(op.up_bias);
    if (op.gate == op.up) {
      product.push.tiles = part_of(mixture, kDoubledTiles).address;
      product.access.reads.push_back(part_of(mixture, kDoubledTiles));
      product.push.up += fused_bytes(op);
      if (product.push.up_bias)
        product.push.up_bias += b_.program.weights[op.gate].out() * sizeof(float);
    }
  } else {
    QUERN_CHECK(multiply(product));
    product = expert_product(mixture, op.up, mixture.in, op.used, hidden);
    fuse_norm(op.norm, product.push);
    product.push.bias = b_.weights.address_or_null(op.up_bias);
    product.push.gate = gate.address;
    product.access.reads.push_back(gate);
  }
  product.push.activation += activation_code(op.activation);
  QUERN_CHECK(multiply(product));

  Product down = expert_product(mixture, op.down, hidden, 1, part_of(mixture, kProducts));
  down.push.bias = b_.weights.address_or_null(op.down_bias);
  return multiply(down);
}

Status OpRecorder::sum_experts(const Mixture& mixture) {
  const Experts& op = mixture.op;
  QUERN_TRY(const Kernel* kernel, b_.device.kernel("sum_experts", kWidth));
  const auto width = static_cast<uint32_t>(b_.program.weights[op.down].out());
  const Range products = part_of(mixture, kProducts), shares = part_of(mixture, kShares);
  const Range out = rows(op.out, shape_.rows, width);
  Access access = {{products, shares}, {out}};
  if (op.add != kAbsent) access.reads.push_back(rows(op.add, shape_.rows, width));
  const shaders::SumExpertsPush push = {.products = products.address,
                                        .shares = shares.address,
                                        .add = b_.workspace.address_or_null(op.add),
                                        .out_rows = out.address,
                                        .width = width,
                                        .used = op.used};
  recorder_.dispatch(*kernel, push, {(width + kWidth - 1) / kWidth, shape_.rows},
                     std::move(access));
  return {};
}

}  // namespace quern::kernels::vulkan
