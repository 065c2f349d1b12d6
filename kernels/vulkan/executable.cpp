#include "kernels/vulkan/executable.h"

#include <algorithm>
#include <bit>
#include <cassert>

#include "kernels/vulkan/codebooks.h"

namespace quern::kernels::vulkan {
namespace {

constexpr size_t kMostShapes = 64;  // whose commands are kept

// Multiply-adds between two looks at `cancel`: well under 100 ms of work for the slowest device of
// its kind.
uint64_t slice_work(const DeviceCaps& caps) {
  return caps.type == VK_PHYSICAL_DEVICE_TYPE_CPU ? 200'000'000 : 50'000'000'000;
}

uint64_t work_of(const Program& program, const Op& op, uint32_t rows) {
  uint64_t work = 0;
  if (const auto* projection = std::get_if<Projection>(&op)) {
    for (const Linear& linear : projection->outputs) {
      const WeightInfo& weight = program.weights[linear.weight];
      work += weight.in() * weight.out() * rows;
    }
  } else if (const auto* experts = std::get_if<Experts>(&op)) {
    const WeightInfo& up = program.weights[experts->up];
    work = 3 * up.in() * up.out() * experts->used * rows;
  }
  return work;
}

}  // namespace

VulkanExecutable::VulkanExecutable(Device& device, const Program& program, const VulkanCache& cache,
                                   const MaxBatch& max, Weights weights, BatchRows rows,
                                   Workspace workspace, Buffer codebooks)
    : device_(device),
      program_(program),
      cache_(cache),
      max_(max),
      weights_(std::move(weights)),
      rows_(std::move(rows)),
      workspace_(std::move(workspace)),
      codebooks_(std::move(codebooks)),
      binding_{device_, program_, weights_, cache_, rows_, workspace_, codebooks_.address()} {}

Result<std::unique_ptr<VulkanExecutable>> VulkanExecutable::make(
    Device& device, const Program& program, std::span<const gguf::TensorView> weights,
    const VulkanCache& cache, const MaxBatch& max, const PackObserver& uploaded) {
  QUERN_TRY(Workspace workspace, Workspace::make(device, program, max));
  QUERN_TRY(BatchRows rows, BatchRows::make(device, program, max));
  const std::vector<std::byte> tables = codebook_bytes();
  QUERN_TRY(Buffer codebooks, Buffer::make(device, tables.size(), Memory::kDevice));
  QUERN_CHECK(codebooks.upload(0, tables));
  QUERN_TRY(Weights uploads, Weights::upload(device, program, weights, uploaded));
  std::unique_ptr<VulkanExecutable> executable(
      new VulkanExecutable(device, program, cache, max, std::move(uploads), std::move(rows),
                           std::move(workspace), std::move(codebooks)));
  // Kernels are compiled, and what the shaders lack is said, now rather than in the first step.
  for (uint32_t part = 0; part < program.parts.size(); ++part) {
    const uint32_t runs = program.states.empty() ? 0 : 1;
    QUERN_CHECK(executable->commands({part, 1, 1, kBlockPositions, runs}));
  }
  return executable;
}

VulkanExecutable::~VulkanExecutable() {
  static_cast<void>(device_.wait());  // nothing may be destroyed under way; a lost device is idle
  forget_commands();
}

void VulkanExecutable::forget_commands() {
  for (const auto& [shape, commands] : commands_) free(commands);
  commands_.clear();
}

// Commands with marks differ from those without.
void VulkanExecutable::time_operations(std::span<double> seconds) {
  seconds_ = seconds;
  forget_commands();
  stopwatch_.reset();
  if (seconds.empty()) return;
  auto stopwatch = Stopwatch::make(device_, static_cast<uint32_t>(program_.ops.size() + 1));
  if (stopwatch) stopwatch_ = std::move(*stopwatch);
}

void VulkanExecutable::free(const Commands& commands) {
  for (VkCommandBuffer slice : commands.slices) device_.free_commands(slice);
}

Result<const VulkanExecutable::Commands*> VulkanExecutable::commands(const Shape& shape) {
  if (const auto known = commands_.find(shape); known != commands_.end()) return &known->second;
  if (commands_.size() == kMostShapes) forget_commands();
  Commands commands;
  if (const Status status = record(shape, commands); !status) {
    free(commands);
    return tl::unexpected(status.error());
  }
  assert(!find_hazard(commands.steps));
  return &commands_.emplace(shape, std::move(commands)).first->second;
}

uint64_t VulkanExecutable::value_bytes(ValueId id, const Shape& shape) const {
  const ValueInfo& value = program_.values[id];
  const uint64_t rows = value.rows == ValueInfo::Rows::kBatch ? shape.rows : shape.logit_rows;
  return rows * value.width * sizeof(float);
}

Status VulkanExecutable::record(const Shape& shape, Commands& commands) {
  QUERN_TRY(VkCommandBuffer first, device_.begin_commands());
  commands.slices.push_back(first);
  Recorder recorder(device_, first);
  const Part& part = program_.parts[shape.part];
  if (part.input != kAbsent) {
    recorder.copy(workspace_.input_place(), workspace_.place(part.input),
                  value_bytes(part.input, shape));
  }
  QUERN_CHECK(record_ops(part, shape, recorder, commands));
  QUERN_CHECK(record_output(part.output, shape, recorder));
  commands.steps = recorder.steps();
  return device_.end_commands(commands.slices.back());
}

// The CPU sees all of the output, or of each row the best logits: uint32 [rows][count] ids, then
// f32 [rows][count].
Status VulkanExecutable::record_output(ValueId output, const Shape& shape, Recorder& recorder) {
  const uint64_t bytes = value_bytes(output, shape);
  if (bytes == 0) return {};
  const auto [count, ids] = shape.top;
  if (count == 0) {
    recorder.copy(workspace_.place(output), workspace_.output_place(), bytes);
    return {};
  }
  const Range logits = {workspace_.address(output), bytes};
  const Range best =
      workspace_.output_place().range(uint64_t{shape.logit_rows} * count * sizeof(TopLogit));
  const uint64_t values = best.address + best.bytes / 2;
  const uint32_t width = program_.values[output].width;
  QUERN_TRY(const Kernel* kernel,
            device_.kernel(count == 1 ? "greedy" : "top_k", shaders::kTopKWidth));
  const Groups groups = {.x = shape.logit_rows};
  if (count == 1) {
    const shaders::GreedyPush push = {.logits = logits.address,
                                      .tokens = best.address,
                                      .values = values,
                                      .vocabulary = ids,
                                      .width = width};
    recorder.dispatch(*kernel, push, groups, {{logits}, {best}});
  } else {
    const shaders::TopKPush push = {.logits = logits.address,
                                    .tokens = best.address,
                                    .values = values,
                                    .vocabulary = ids,
                                    .width = width,
                                    .k = count};
    recorder.dispatch(*kernel, push, groups, {{logits}, {best}});
  }
  return {};
}

Status VulkanExecutable::record_ops(const Part& part, const Shape& shape, Recorder& recorder,
                                    Commands& commands) {
  OpRecorder ops(binding_, shape, recorder);
  const auto mark = [&](size_t point) {
    if (stopwatch_) stopwatch_->mark(commands.slices.back(), static_cast<uint32_t>(point));
  };
  if (stopwatch_) {
    stopwatch_->reset(commands.slices.back(), static_cast<uint32_t>(part.begin),
                      static_cast<uint32_t>(part.end + 1));
  }
  mark(part.begin);
  uint64_t work = 0;
  for (size_t i = part.begin; i < part.end; ++i) {
    const uint64_t more = work_of(program_, program_.ops[i], shape.rows);
    if (work > 0 && work + more > slice_work(device_.caps())) {
      QUERN_CHECK(device_.end_commands(commands.slices.back()));
      QUERN_TRY(VkCommandBuffer next, device_.begin_commands());
      commands.slices.push_back(next);
      recorder.continue_in(next);
      work = 0;
    }
    work += more;
    QUERN_CHECK(ops.record(program_.ops[i]));
    mark(i + 1);
  }
  return {};
}

Status VulkanExecutable::compute(const Batch& batch, const Shape& shape,
                                 const std::atomic<bool>& cancel) {
  QUERN_CHECK(cache_.status());
  QUERN_TRY(const Commands* recorded, commands(shape));
  rows_.write(batch, shape);
  std::ranges::copy(batch.input, workspace_.input().begin());
  for (VkCommandBuffer slice : recorded->slices) {
    if (cancel) return fail(ErrorKind::kCancelled, "cancelled", "stopped");
    QUERN_CHECK(device_.submit(slice));
    QUERN_CHECK(device_.wait());
  }
  if (stopwatch_) {
    const Part& part = program_.parts[batch.part];
    QUERN_CHECK(stopwatch_->add(static_cast<uint32_t>(part.begin), static_cast<uint32_t>(part.end),
                                seconds_));
  }
  return {};
}

Result<std::span<const float>> VulkanExecutable::run(const Batch& batch,
                                                     const std::atomic<bool>& cancel) {
  QUERN_CHECK(compute(batch, shape_of(program_, batch, max_), cancel));
  const ValueInfo& output = program_.values[program_.parts[batch.part].output];
  const bool all = output.rows == ValueInfo::Rows::kBatch;
  const uint64_t rows = all ? batch.tokens.size() : batch.logit_rows.size();
  device_.count().add_read(rows * output.width * sizeof(float));
  return workspace_.output().first(rows * output.width);
}

Result<std::span<const TopLogit>> VulkanExecutable::run_top(const Batch& batch,
                                                            const TopRequest& request,
                                                            const std::atomic<bool>& cancel) {
  assert(request.count <= std::min(request.ids, kMostTopLogits));
  Shape shape = shape_of(program_, batch, max_);
  shape.top = request;
  QUERN_CHECK(compute(batch, shape, cancel));
  const size_t padded = size_t{shape.logit_rows} * request.count;
  const std::span<const float> ids = workspace_.output().first(padded);
  const std::span<const float> values = workspace_.output().subspan(padded, padded);
  top_.resize(batch.logit_rows.size() * request.count);
  for (size_t i = 0; i < top_.size(); ++i) top_[i] = {std::bit_cast<uint32_t>(ids[i]), values[i]};
  device_.count().add_read(top_.size() * sizeof(TopLogit));
  return top_;
}

}  // namespace quern::kernels::vulkan
