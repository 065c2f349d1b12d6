// The weights of a program in device memory, as the file has them, block by block.
#pragma once

#include <functional>
#include <span>

#include "gguf/file.h"
#include "kernels/backend.h"
#include "kernels/vulkan/arena.h"

namespace quern::kernels::vulkan {

class Weights {
 public:
  // Bytes that upload() takes of the device.
  static uint64_t bytes(const Program& program, uint64_t max_allocation);
  static uint64_t largest(const Program& program);  // see Arena

  // Copies all weights; uploaded(weight) is called after each one, uploaded(kAbsent) every 64 MiB
  // in between. Errors: "cancelled" if it returns false, "device-memory", which says what would
  // fit, and those of Buffer.
  static Result<Weights> upload(Device& device, const Program& program,
                                std::span<const gguf::TensorView> tensors,
                                const PackObserver& uploaded);

  uint64_t address(WeightId weight) const { return arena_.address(weight); }
  // 0 for a weight that is absent.
  uint64_t address_or_null(WeightId weight) const {
    return weight == kAbsent ? 0 : address(weight);
  }

 private:
  explicit Weights(Arena arena) : arena_(std::move(arena)) {}

  Arena arena_;  // ranges by WeightId
};

}  // namespace quern::kernels::vulkan
