// A program bound to a device's memory, whose commands are recorded once per shape of step.
#pragma once

#include <map>

#include "kernels/vulkan/op_recorder.h"
#include "kernels/vulkan/stopwatch.h"

namespace quern::kernels::vulkan {

class VulkanExecutable final : public Executable {
 public:
  static Result<std::unique_ptr<VulkanExecutable>> make(Device& device, const Program& program,
                                                        std::span<const gguf::TensorView> weights,
                                                        const VulkanCache& cache,
                                                        const MaxBatch& max,
                                                        const PackObserver& uploaded);
  ~VulkanExecutable() override;

  Result<std::span<const float>> run(const Batch& batch, const std::atomic<bool>& cancel) override;
  Result<std::span<const TopLogit>> run_top(const Batch& batch, const TopRequest& request,
                                            const std::atomic<bool>& cancel) override;

  // By the device's own clock. Operations that it computes at the same time share their time in the
  // order of their ends.
  void time_operations(std::span<double> seconds) override;

  // What run() submits for a step of this shape; recorded if it was not yet.
  struct Commands {
    std::vector<VkCommandBuffer> slices;  // submitted one after the other
    std::vector<Step> steps;
  };
  Result<const Commands*> commands(const Shape& shape);

 private:
  VulkanExecutable(Device& device, const Program& program, const VulkanCache& cache,
                   const MaxBatch& max, Weights weights, BatchRows rows, Workspace workspace,
                   Buffer codebooks);
  Status record(const Shape& shape, Commands& commands);
  Status record_output(ValueId output, const Shape& shape, Recorder& recorder);
  Status record_ops(const Part& part, const Shape& shape, Recorder& recorder, Commands& commands);
  Status compute(const Batch& batch, const Shape& shape, const std::atomic<bool>& cancel);
  // Bytes of the rows of a value in a step of this shape.
  uint64_t value_bytes(ValueId id, const Shape& shape) const;
  void free(const Commands& commands);
  void forget_commands();

  Device& device_;
  const Program program_;
  const VulkanCache& cache_;
  const MaxBatch max_;
  const Weights weights_;
  BatchRows rows_;
  Workspace workspace_;
  const Buffer codebooks_;
  const Binding binding_;
  std::map<Shape, Commands> commands_;
  std::unique_ptr<Stopwatch> stopwatch_;  // point i: operation i begins; while commands have marks
  std::span<double> seconds_;             // per operation, or empty
  std::vector<TopLogit> top_;
};

}  // namespace quern::kernels::vulkan
