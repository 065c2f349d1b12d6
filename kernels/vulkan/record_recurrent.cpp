// Operations with a recurrent state as dispatches: rows of a sequence one after the other, columns
// of its state side by side.
#include "kernels/vulkan/op_recorder.h"

namespace quern::kernels::vulkan {
namespace {

constexpr uint32_t kWidth = 64;  // columns of a workgroup

uint32_t divide_up(uint32_t value, uint32_t by) { return (value + by - 1) / by; }

}  // namespace

Status OpRecorder::operate(const CausalConv& op) {
  const uint32_t width = b_.program.values[op.out].width;
  const uint32_t constants[] = {kWidth, b_.device.caps().subgroup_size, op.taps};
  QUERN_TRY(const Kernel* kernel, b_.device.kernel("causal_conv", constants));
  const Range in = rows(op.in, shape_.rows, width), out = rows(op.out, shape_.rows, width);
  const Range states = b_.cache.states(op.state);
  Access access = {{in, states}, {out, states}};
  for (const ValueId id : {op.before, op.after}) {
    if (id != kAbsent) access.reads.push_back(rows(id, shape_.rows, width));
  }
  const shaders::CausalConvPush push = {.in_rows = in.address,
                                        .before = b_.workspace.address_or_null(op.before),
                                        .after = b_.workspace.address_or_null(op.after),
                                        .out_rows = out.address,
                                        .weight = b_.weights.address(op.weight),
                                        .bias = b_.weights.address_or_null(op.bias),
                                        .states = states.address,
                                        .runs = b_.rows.runs(),
                                        .width = width,
                                        .activation = activation_code(op.activation)};
  recorder_.dispatch(*kernel, push, {divide_up(width, kWidth), shape_.runs}, std::move(access));
  return {};
}

Status OpRecorder::operate(const GatedDelta& op) {
  if (op.width > shaders::kMaxStateRows) return unsupported("states of this size");
  const uint32_t constants[] = {kWidth, b_.device.caps().subgroup_size, op.width};
  QUERN_TRY(const Kernel* kernel, b_.device.kernel("gated_delta", constants));
  const uint64_t inner = uint64_t{op.value_heads} * op.width;
  const Range mixed = rows(op.mixed, shape_.rows, 2 * uint64_t{op.key_heads} * op.width + inner);
  const Range decay = rows(op.decay, shape_.rows, op.value_heads);
  const Range beta = rows(op.beta, shape_.rows, op.value_heads);
  const Range out = rows(op.out, shape_.rows, inner), states = b_.cache.states(op.state);
  const shaders::GatedDeltaPush push = {.mixed = mixed.address,
                                        .decay = decay.address,
                                        .beta = beta.address,
                                        .out_rows = out.address,
                                        .a = b_.weights.address(op.a),
                                        .bias = b_.weights.address(op.decay_bias),
                                        .states = states.address,
                                        .runs = b_.rows.runs(),
                                        .key_heads = op.key_heads,
                                        .value_heads = op.value_heads,
                                        .epsilon = op.epsilon};
  recorder_.dispatch(*kernel, push, {divide_up(op.width, kWidth) * op.value_heads, shape_.runs},
                     {{mixed, decay, beta, states}, {out, states}});
  return {};
}

Status OpRecorder::operate(const SelectiveScan& op) {
  if (op.state_width > shaders::kMaxStateRows) return unsupported("states of this size");
  const uint32_t constants[] = {kWidth, b_.device.caps().subgroup_size, op.state_width};
  QUERN_TRY(const Kernel* kernel, b_.device.kernel("selective_scan", constants));
  const uint64_t inner = uint64_t{op.heads} * op.width;
  const Range mixed = rows(op.mixed, shape_.rows, inner + 2 * uint64_t{op.groups} * op.state_width);
  const Range step = rows(op.step, shape_.rows, op.heads);
  const Range out = rows(op.out, shape_.rows, inner), states = b_.cache.states(op.state);
  const shaders::SelectiveScanPush push = {.mixed = mixed.address,
                                           .step = step.address,
                                           .out_rows = out.address,
                                           .a = b_.weights.address(op.a),
                                           .bias = b_.weights.address(op.step_bias),
                                           .skip = b_.weights.address(op.skip),
                                           .states = states.address,
                                           .runs = b_.rows.runs(),
                                           .heads = op.heads,
                                           .width = op.width,
                                           .groups = op.groups};
  recorder_.dispatch(*kernel, push, {divide_up(op.width, kWidth) * op.heads, shape_.runs},
                     {{mixed, step, states}, {out, states}});
  return {};
}

}  // namespace quern::kernels::vulkan
