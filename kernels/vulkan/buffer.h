// Buffer: device memory at an address that shaders take as a number.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "kernels/vulkan/api.h"

namespace quern::kernels::vulkan {

class Device;

// kDevice: fastest for the device, maybe not visible to the CPU. kUpload: written by the CPU, read
// by the device. kReadback: the other way round.
enum class Memory { kDevice, kUpload, kReadback };

class Buffer {
 public:
  Buffer() = default;
  // Memory of its own, allocated(bytes) of it. Errors: "device-memory", "out-of-memory", "vulkan".
  static Result<Buffer> make(Device& device, uint64_t bytes, Memory memory);
  // Bytes that a device takes for a buffer of so many: drivers align buffers to far less than this
  // granule, so it is known before there is a device. None is empty.
  static constexpr uint64_t kGranule = 64 << 10;
  static constexpr uint64_t allocated(uint64_t bytes) {
    return bytes > kGranule ? (bytes + kGranule - 1) / kGranule * kGranule : kGranule;
  }

  Buffer(Buffer&& other) noexcept { *this = std::move(other); }
  Buffer& operator=(Buffer&& other) noexcept;
  ~Buffer();

  uint64_t address() const { return address_; }
  uint64_t bytes() const { return bytes_; }
  VkBuffer handle() const { return handle_; }
  // The CPU's view, coherent; nullptr for kDevice memory that the CPU does not see.
  std::byte* mapped() const { return mapped_; }

  // Copy to and from the device; they wait until it is done. Ranges lie inside the buffer.
  Status upload(uint64_t offset, std::span<const std::byte> bytes);
  Status download(uint64_t offset, std::span<std::byte> bytes) const;

 private:
  Status allocate(Memory memory);

  Device* device_ = nullptr;
  uint64_t bytes_ = 0, address_ = 0;
  uint64_t counted_ = 0;  // what the device took for it
  VkBuffer handle_ = VK_NULL_HANDLE;
  VkDeviceMemory memory_ = VK_NULL_HANDLE;
  std::byte* mapped_ = nullptr;
};

}  // namespace quern::kernels::vulkan
