// Operations on single heads as dispatches: their norms and gates, their parts, their matrices.
#include <algorithm>

#include "kernels/vulkan/op_recorder.h"

namespace quern::kernels::vulkan {
namespace {

constexpr uint32_t kWidth = 64;          // invocations per workgroup
constexpr uint32_t kMostGroups = 65535;  // along z, on every device

uint32_t divide_up(uint32_t value, uint32_t by) { return (value + by - 1) / by; }

}  // namespace

Status OpRecorder::normalize_heads(const HeadNorm& norm, uint32_t heads, uint32_t width,
                                   uint32_t count, const Range& x, float scale) {
  QUERN_TRY(const Kernel* kernel, b_.device.kernel("norm", kWidth));
  const bool all = norm.over == HeadNorm::Over::kAllHeads;
  const shaders::NormPush push = {.in_rows = x.address,
                                  .weight = b_.weights.address_or_null(norm.norm.weight),
                                  .bias = b_.weights.address_or_null(norm.norm.bias),
                                  .out_rows = x.address,
                                  .width = all ? heads * width : width,
                                  .layer = norm.norm.kind == Norm::Kind::kLayer,
                                  .epsilon = norm.norm.epsilon,
                                  .scale = scale,
                                  .heads = norm.over == HeadNorm::Over::kOwnHead ? heads : 1};
  recorder_.dispatch(*kernel, push, {all ? 1 : heads, count}, {{x}, {x}});
  return {};
}

Status OpRecorder::operate(const GatedNorm& op) {
  if (rows_of(op.x) == 0) return {};
  const bool plain = op.norm.norm.kind == Norm::Kind::kRms && op.norm.norm.bias == kAbsent;
  if (!op.normalized || plain) return gate_heads(op);
  const Range x = rows(op.x, rows_of(op.x), uint64_t{op.heads} * op.width);
  GatedNorm gate = op;
  gate.normalized = false;
  if (op.gate_first) {
    gate.scale = 1;
    QUERN_CHECK(gate_heads(gate));
    return normalize_heads(op.norm, op.heads, op.width, rows_of(op.x), x, op.scale);
  }
  QUERN_CHECK(normalize_heads(op.norm, op.heads, op.width, rows_of(op.x), x, 1));
  return gate_heads(gate);
}

// With an RMS norm without bias, or none.
Status OpRecorder::gate_heads(const GatedNorm& op) {
  QUERN_TRY(const Kernel* kernel, b_.device.kernel("gated_norm", kWidth));
  const bool all = op.normalized && op.norm.over == HeadNorm::Over::kAllHeads;
  const uint32_t heads = all ? 1 : op.heads, width = all ? op.heads * op.width : op.width;
  const Range x = rows(op.x, rows_of(op.x), uint64_t{heads} * width);
  Access access = {{x}, {x}};
  if (op.gate != kAbsent) access.reads.push_back({b_.workspace.address(op.gate), x.bytes});
  const shaders::GatedNormPush push = {
      .x = x.address,
      .gate = b_.workspace.address_or_null(op.gate),
      .weight = op.normalized ? b_.weights.address_or_null(op.norm.norm.weight) : 0,
      .width = width,
      .own_head = op.norm.over == HeadNorm::Over::kOwnHead,
      .normalized = op.normalized,
      .gate_first = op.gate_first,
      .activation = activation_code(op.activation),
      .epsilon = op.norm.norm.epsilon,
      .scale = op.scale};
  recorder_.dispatch(*kernel, push, {heads, rows_of(op.x)}, std::move(access));
  return {};
}

Status OpRecorder::operate(const Arrange& op) {
  if (rows_of(op.out) == 0) return {};
  QUERN_TRY(const Kernel* kernel, b_.device.kernel("arrange", kWidth));
  const Range out = rows(op.out, rows_of(op.out), uint64_t{op.heads} * op.width);
  for (const Arrange::Piece& piece : op.pieces) {
    const uint32_t in_width = b_.program.values[piece.in].width;
    const Range in = rows(piece.in, rows_of(op.out), in_width);
    const shaders::ArrangePush push = {.in_rows = in.address,
                                       .out_rows = out.address,
                                       .in_width = in_width,
                                       .first = piece.first,
                                       .stride = piece.stride,
                                       .to = piece.to,
                                       .width = piece.width,
                                       .heads = op.heads,
                                       .head_width = op.width};
    recorder_.dispatch(*kernel, push, {divide_up(op.heads * piece.width, kWidth), rows_of(op.out)},
                       {{in}, {out}});
  }
  return {};
}

Result<Range> OpRecorder::head_tiles(uint32_t heads, uint32_t count) {
  QUERN_TRY(const Kernel* kernel, b_.device.kernel("head_tiles", kWidth));
  const uint32_t slots = count * heads;
  const Range tiles = {b_.workspace.head_tiles().address, slots * sizeof(shaders::ExpertTile)};
  recorder_.dispatch(*kernel, shaders::HeadTilesPush{tiles.address, slots, heads},
                     {.x = divide_up(slots, kWidth)}, {{}, {tiles}});
  return tiles;
}

// Every head of every row is a slot whose expert is the head (shaders/shared.h, "Experts").
Status OpRecorder::operate(const HeadProduct& op) {
  const WeightInfo& weight = b_.program.weights[op.weight];
  const auto heads = static_cast<uint32_t>(weight.shape[2]);
  const uint32_t most = std::max(kMostGroups / heads, 1u);
  for (uint32_t first = 0; first < rows_of(op.in); first += most) {
    const uint32_t count = std::min(most, rows_of(op.in) - first), slots = count * heads;
    QUERN_TRY(const Range tiles, head_tiles(heads, count));
    Range in = rows(op.in, slots, weight.in()), out = rows(op.out, slots, weight.out());
    in.address += first * heads * weight.in() * sizeof(float);
    out.address += first * heads * weight.out() * sizeof(float);
    Product product = {.weight = op.weight, .rows = slots, .tiles = slots};
    product.push.x = in.address;
    product.push.out_rows = out.address;
    product.push.tiles = tiles.address;
    product.push.activation = shaders::kSlotsPerRow;  // every slot has a row of its own
    product.access = {{in, tiles}, {out}};
    QUERN_CHECK(multiply(product));
  }
  return {};
}

}  // namespace quern::kernels::vulkan
