// Embeddings, projections and row selection as dispatches.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "kernels/vulkan/op_recorder.h"
#include "shaders/shared.h"

namespace quern::kernels::vulkan {
namespace {

// Invocations per workgroup, where a shader leaves it open.
constexpr uint32_t kWidth = 64;
constexpr uint32_t kNormWidth = 256;

uint32_t divide_up(uint64_t value, uint32_t by) {
  return static_cast<uint32_t>((value + by - 1) / by);
}

// Most shaders read eight values of a row at a time; the other rows are of float formats.
bool is_odd(const WeightInfo& weight) { return weight.in() % 8 != 0; }

uint32_t odd_format(gguf::Format format) {
  if (format == gguf::Format::F32) return shaders::kOddF32;
  return format == gguf::Format::F16 ? shaders::kOddF16 : shaders::kOddBf16;
}

// "matvec_q4_k"
std::string kernel_name(std::string_view operation, gguf::Format format) {
  std::string name = fmt::format("{}_{}", operation, gguf::info(format).name);
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
  return name;
}

// Workgroups as a grid whose sides every device allows.
Groups spread(uint32_t count) {
  constexpr uint32_t kSide = 32768;
  return count <= kSide ? Groups{.x = count} : Groups{.x = kSide, .y = divide_up(count, kSide)};
}

}  // namespace

uint32_t activation_code(Activation activation) {
  switch (activation) {
    case Activation::kNone:
      return shaders::kActivationNone;
    case Activation::kSilu:
      return shaders::kActivationSilu;
    case Activation::kGelu:
      return shaders::kActivationGelu;
    case Activation::kReluSquared:
      return shaders::kActivationReluSquared;
    case Activation::kSigmoid:
      return shaders::kActivationSigmoid;
    case Activation::kClampedSwiglu:
      return shaders::kActivationClampedSwiglu;
  }
  return shaders::kActivationNone;
}

Status OpRecorder::unsupported(std::string_view what) {
  return fail(ErrorKind::kUnsupported, "vulkan-op",
              fmt::format("Quern's Vulkan shaders cannot compute {} yet", what));
}

Status OpRecorder::record(const Op& op) {
  return std::visit([this](const auto& typed) { return this->operate(typed); }, op);
}

Status OpRecorder::operate(const Embed& op) {
  QUERN_CHECK(gather(op.table, op.scale, false, op.out));
  return op.positions == kAbsent ? Status() : gather(op.positions, 1, true, op.out);
}

Status OpRecorder::gather(WeightId id, float scale, bool by_position, ValueId to) {
  const WeightInfo& table = b_.program.weights[id];
  const bool odd = is_odd(table);
  const std::string name = odd ? "odd_gather" : kernel_name("gather", table.format);
  const uint32_t constants[] = {kWidth, b_.device.caps().subgroup_size, odd_format(table.format)};
  QUERN_TRY(const Kernel* kernel, b_.device.kernel(name, std::span(constants, odd ? 3 : 2)));
  const auto width = static_cast<uint32_t>(table.in());
  const Range out = rows(to, shape_.rows, width);
  const shaders::GatherPush push = {.table = b_.weights.address(id),
                                    .rows = b_.rows.rows(),
                                    .out_rows = out.address,
                                    .codebooks = b_.codebooks,
                                    .width = width,
                                    .scale = scale,
                                    .by_position = by_position};
  std::vector<Range> read;
  if (by_position) read.push_back(out);
  recorder_.dispatch(*kernel, push, {divide_up(odd ? width : width / 8, kWidth), shape_.rows},
                     {read, {out}});
  return {};
}

Status OpRecorder::operate(const SelectLogitRows& op) {
  if (shape_.logit_rows == 0) return {};
  QUERN_TRY(const Kernel* kernel, b_.device.kernel("select_rows", kWidth));
  const uint32_t width = b_.program.values[op.in].width;
  const Range in = rows(op.in, shape_.rows, width), out = rows(op.out, shape_.logit_rows, width);
  const shaders::SelectRowsPush push = {in.address, b_.rows.logit_rows(), out.address, width, 0};
  recorder_.dispatch(*kernel, push, {divide_up(width, kWidth), shape_.logit_rows}, {{in}, {out}});
  return {};
}

Status OpRecorder::operate(const SoftCap& op) {
  const uint32_t count = rows_of(op.x) * b_.program.values[op.x].width;
  if (count == 0) return {};
  QUERN_TRY(const Kernel* kernel, b_.device.kernel("soft_cap", kWidth));
  const Range x = rows(op.x, rows_of(op.x), b_.program.values[op.x].width);
  const shaders::SoftCapPush push = {x.address, count, op.cap};
  recorder_.dispatch(*kernel, push, spread(divide_up(count, kWidth)), {{x}, {x}});
  return {};
}

Status OpRecorder::normalize(const Norm& norm, uint32_t width, uint32_t count, const Range& in,
                             const Range& out, const Range* add, float scale) {
  QUERN_TRY(const Kernel* kernel, b_.device.kernel("norm", kNormWidth));
  const shaders::NormPush push = {.in_rows = in.address,
                                  .weight = b_.weights.address_or_null(norm.weight),
                                  .bias = b_.weights.address_or_null(norm.bias),
                                  .add = add ? add->address : 0,
                                  .out_rows = out.address,
                                  .width = width,
                                  .layer = norm.kind == Norm::Kind::kLayer,
                                  .epsilon = norm.epsilon,
                                  .scale = scale,
                                  .normalized = norm.weight != kAbsent};
  Access access = {{in}, {out}};
  if (add) access.reads.push_back(*add);
  recorder_.dispatch(*kernel, push, {.x = count}, std::move(access));
  return {};
}

Status OpRecorder::operate(const AddNormed& op) {
  const uint32_t count = rows_of(op.in);
  if (count == 0) return {};
  const uint32_t width = op.norm.weight == kAbsent
                             ? b_.program.values[op.out].width
                             : static_cast<uint32_t>(b_.program.weights[op.norm.weight].in());
  const Range add = rows(op.add, count, width);
  return normalize(op.norm, width, count, rows(op.in, count, width), rows(op.out, count, width),
                   &add, op.scale);
}

bool OpRecorder::offers_tiled(WeightId weight) const {
  return b_.device.offers(kernel_name("matmul", b_.program.weights[weight].format));
}

// Many rows go through the tiled shader, few, or all where it may not be used, through the other.
Status OpRecorder::multiply(const Product& product) {
  const WeightInfo& weight = b_.program.weights[product.weight];
  shaders::MatmulPush push = product.push;
  push.weight = b_.weights.address(product.weight);
  push.codebooks = b_.codebooks;
  push.in_width = static_cast<uint32_t>(weight.in());
  push.out_width = static_cast<uint32_t>(weight.out());
  push.rows = product.rows;
  if (is_odd(weight)) return multiply_odd(product, push);
  const uint32_t gated = push.up != 0;
  const bool sorted = push.tiles && push.indices;
  const bool tiled =
      push.tiles ? sorted : push.rows > shaders::kMatvecRows && offers_tiled(product.weight);
  if (tiled) {
    const uint32_t constants[] = {shaders::kMatmulWidth, b_.device.caps().subgroup_size, gated};
    QUERN_TRY(const Kernel* kernel,
              b_.device.kernel(b_.device.product_kernel(kernel_name("matmul", weight.format), true),
                               constants));
    const uint32_t tiles =
        product.tiles ? product.tiles : divide_up(push.rows, shaders::kMatmulTile);
    recorder_.dispatch(*kernel, push, {divide_up(push.out_width, shaders::kMatmulTile), tiles},
                       product.access);
    return {};
  }
  const uint32_t together = product.tiles ? 1 : std::min(push.rows, shaders::kMatvecRows);
  const uint32_t constants[] = {kWidth, b_.device.caps().subgroup_size, together, gated};
  QUERN_TRY(const Kernel* kernel,
            b_.device.kernel(b_.device.product_kernel(kernel_name("matvec", weight.format), false),
                             constants));
  Groups groups = spread(divide_up(push.out_width, shaders::kMatvecOutputs));
  groups.z = product.tiles ? product.tiles : divide_up(push.rows, together);
  recorder_.dispatch(*kernel, push, groups, product.access);
  return {};
}

Status OpRecorder::multiply_odd(const Product& product, const shaders::MatmulPush& push) {
  const uint32_t constants[] = {kWidth, b_.device.caps().subgroup_size,
                                odd_format(b_.program.weights[product.weight].format)};
  QUERN_TRY(const Kernel* kernel, b_.device.kernel("odd_product", constants));
  Groups groups = spread(divide_up(push.out_width, kWidth));
  groups.z = product.tiles ? product.tiles : divide_up(push.rows, shaders::kMatmulTile);
  recorder_.dispatch(*kernel, push, groups, product.access);
  return {};
}

void OpRecorder::fuse_norm(const Norm& norm, shaders::MatmulPush& push) const {
  if (norm.weight == kAbsent || norm.kind != Norm::Kind::kRms) return;
  push.norm = b_.weights.address(norm.weight);
  push.epsilon = norm.epsilon;
}

Result<Range> OpRecorder::normed_input(ValueId id, const Norm& norm, uint64_t width) {
  const Range in = rows(id, rows_of(id), width);
  if (norm.weight == kAbsent || norm.kind == Norm::Kind::kRms) return in;
  const Range normed = {b_.workspace.normed().address, in.bytes};
  QUERN_CHECK(normalize(norm, static_cast<uint32_t>(width), rows_of(id), in, normed, nullptr, 1));
  return normed;
}

// The product of one of a projection's matrices with its input, before what differs.
OpRecorder::Product OpRecorder::product_of(const Projection& op, const Range& in,
                                           const Linear& linear) const {
  const uint32_t count = rows_of(op.in);
  const Range out = rows(linear.out, count, b_.program.weights[linear.weight].out());
  Product product = {.weight = linear.weight, .rows = count};
  product.push.x = in.address;
  fuse_norm(op.norm, product.push);
  product.push.bias = b_.weights.address_or_null(linear.bias);
  product.push.out_rows = out.address;
  product.access = {{in}, {out}};
  return product;
}

// Residual and factors of a matrix whose output has `width` values.
void OpRecorder::add_epilogue(const Linear& linear, uint64_t width, Product& product) const {
  product.push.scale = linear.scale;
  if (linear.add != kAbsent) {
    const Range add = rows(linear.add, product.rows, width);
    product.push.add = add.address;
    product.access.reads.push_back(add);
  }
  if (linear.gate != kAbsent) {
    const Range gate = rows(linear.gate, product.rows, 1);
    product.push.row_scale = gate.address;
    product.access.reads.push_back(gate);
  }
}

Status OpRecorder::operate(const Projection& op) {
  if (rows_of(op.in) == 0) return {};
  QUERN_TRY(const Range in,
            normed_input(op.in, op.norm, b_.program.weights[op.outputs[0].weight].in()));
  if (op.gated()) return gated_unit(op, in);
  for (const Linear& linear : op.outputs) {
    Product product = product_of(op, in, linear);
    product.push.activation = activation_code(op.activation);
    add_epilogue(linear, b_.program.weights[linear.weight].out(), product);
    QUERN_CHECK(multiply(product));
  }
  return {};
}

// out = activation(gate) * up: both matrices in one dispatch where they have one format, else the
// gate first.
Status OpRecorder::gated_unit(const Projection& op, const Range& in) {
  const Linear &gate = op.outputs[0], &up = op.outputs[1];
  const WeightInfo& weight = b_.program.weights[gate.weight];
  Product product = product_of(op, in, gate);
  if (weight.format == b_.program.weights[up.weight].format) {
    product.push.up = b_.weights.address(up.weight);
    product.push.up_bias = b_.weights.address_or_null(up.bias);
  } else {
    const Range out = product.access.writes[0];
    const Range kept = {b_.workspace.gate().address, out.bytes};
    product.push.out_rows = kept.address;
    product.access = {{in}, {kept}};
    QUERN_CHECK(multiply(product));
    product.weight = up.weight;
    product.push.gate = kept.address;
    product.push.bias = b_.weights.address_or_null(up.bias);
    product.push.out_rows = out.address;
    product.access = {{in, kept}, {out}};
  }
  product.push.activation = activation_code(op.activation);
  add_epilogue(gate, weight.out(), product);
  return multiply(product);
}

}  // namespace quern::kernels::vulkan
