#include "kernels/vulkan/arena.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

namespace quern::kernels::vulkan {

uint64_t Arena::taken(uint64_t bytes) {
  return (bytes + kTail + kAlignment - 1) / kAlignment * kAlignment;
}

size_t Arena::add(uint64_t bytes) {
  if (sizes_.empty() || sizes_.back() + taken(bytes) > max_allocation_) sizes_.push_back(0);
  parts_.push_back({sizes_.size() - 1, sizes_.back(), bytes});
  sizes_.back() += taken(bytes);
  return parts_.size() - 1;
}

uint64_t Arena::largest() const {
  uint64_t most = 0;
  for (const Part& part : parts_) most = std::max(most, taken(part.bytes));
  return Buffer::allocated(most);
}

uint64_t Arena::bytes() const {
  return std::accumulate(sizes_.begin(), sizes_.end(), uint64_t{0},
                         [](uint64_t sum, uint64_t size) { return sum + Buffer::allocated(size); });
}

Status Arena::allocate(Device& device, Memory memory) {
  for (const uint64_t size : sizes_) {
    if (size > max_allocation_) {
      return fail(ErrorKind::kFailure, "device-memory",
                  fmt::format("the GPU allocates at most {} bytes at once, but {} are needed",
                              max_allocation_, size));
    }
    QUERN_TRY(Buffer buffer, Buffer::make(device, size, memory));
    buffers_.push_back(std::move(buffer));
  }
  return {};
}

Range Arena::range(size_t index) const {
  const Part& part = parts_[index];
  return {buffers_[part.buffer].address() + part.offset, part.bytes};
}

}  // namespace quern::kernels::vulkan
