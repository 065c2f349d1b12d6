// Arena: many ranges of device memory in few buffers, none larger than the device allows. First
// everything is planned, then allocated at once.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/vulkan/device.h"
#include "kernels/vulkan/recorder.h"

namespace quern::kernels::vulkan {

class Arena {
 public:
  // Ranges start at multiples of this, and so many bytes behind each one may be read.
  static constexpr uint64_t kAlignment = 256;
  static constexpr uint64_t kTail = 64;

  // `max_allocation`: bytes that the device allocates at once, at most.
  explicit Arena(uint64_t max_allocation)
      : max_allocation_(max_allocation / Buffer::kGranule * Buffer::kGranule) {}

  // Plans a range; returns its index.
  size_t add(uint64_t bytes);
  size_t size() const { return parts_.size(); }  // how many ranges
  // That allocate() takes, for all buffers.
  uint64_t bytes() const;
  // Of the smallest buffer that holds the largest range.
  uint64_t largest() const;

  // Errors: "device-memory" (also for a range beyond what the device allocates at once), and those
  // of Buffer::make.
  Status allocate(Device& device, Memory memory);

  Range range(size_t index) const;
  uint64_t address(size_t index) const { return range(index).address; }
  // The buffer that a range lies in, and where in it.
  Buffer& buffer(size_t index) { return buffers_[parts_[index].buffer]; }
  const Buffer& buffer(size_t index) const { return buffers_[parts_[index].buffer]; }
  uint64_t offset(size_t index) const { return parts_[index].offset; }
  Place place(size_t index) const { return {buffer(index), offset(index)}; }

 private:
  static uint64_t taken(uint64_t bytes);

  struct Part {
    size_t buffer;
    uint64_t offset, bytes;
  };

  uint64_t max_allocation_;
  std::vector<Part> parts_;
  std::vector<uint64_t> sizes_;  // of the buffers
  std::vector<Buffer> buffers_;
};

}  // namespace quern::kernels::vulkan
