// Stopwatch: when a device was at numbered points of recorded commands, by its own clock.
#pragma once

#include <memory>

#include "kernels/vulkan/device.h"

namespace quern::kernels::vulkan {

class Stopwatch {
 public:
  // nullptr on a device without a clock. Errors: those of check().
  static Result<std::unique_ptr<Stopwatch>> make(const Device& device, uint32_t points);
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;
  ~Stopwatch();

  // Recorded before the points [first, end) are marked.
  void reset(VkCommandBuffer commands, uint32_t first, uint32_t end) const;
  // The time at which everything recorded so far is done.
  void mark(VkCommandBuffer commands, uint32_t point) const;

  // Adds the seconds from point i to point i + 1 to seconds[i], for points [first, last] that were
  // marked by commands that are done.
  Status add(uint32_t first, uint32_t last, std::span<double> seconds) const;

 private:
  explicit Stopwatch(const Device& device) : device_(device) {}

  const Device& device_;
  VkQueryPool pool_ = VK_NULL_HANDLE;
};

}  // namespace quern::kernels::vulkan
