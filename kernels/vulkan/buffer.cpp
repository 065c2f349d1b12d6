#include "kernels/vulkan/buffer.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <optional>

#include "kernels/vulkan/device.h"

namespace quern::kernels::vulkan {
namespace {

constexpr VkMemoryPropertyFlags kLocal = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
constexpr VkMemoryPropertyFlags kVisible =
    VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
constexpr VkMemoryPropertyFlags kCached = VK_MEMORY_PROPERTY_HOST_CACHED_BIT;

// Properties to look for, the best first; the last is what every device has.
std::span<const VkMemoryPropertyFlags> wishes(Memory memory) {
  static constexpr VkMemoryPropertyFlags kDevice[] = {kLocal | kVisible, kLocal, 0};
  static constexpr VkMemoryPropertyFlags kUpload[] = {kLocal | kVisible, kVisible};
  static constexpr VkMemoryPropertyFlags kReadback[] = {kVisible | kCached, kVisible};
  switch (memory) {
    case Memory::kDevice:
      return kDevice;
    case Memory::kUpload:
      return kUpload;
    case Memory::kReadback:
      return kReadback;
  }
  return {};
}

// A window of a large device's memory that the CPU sees may be small (256 MiB): such a type serves
// kUpload only, unless it belongs to the largest heap.
bool large_enough(const VkPhysicalDeviceMemoryProperties& memory, uint32_t type, Memory use) {
  const auto heap_bytes = [&](uint32_t i) {
    return memory.memoryHeaps[memory.memoryTypes[i].heapIndex].size;
  };
  if (use != Memory::kDevice) return true;
  for (uint32_t i = 0; i < memory.memoryTypeCount; ++i) {
    const bool local = memory.memoryTypes[i].propertyFlags & kLocal;
    if (local && heap_bytes(i) > heap_bytes(type)) return false;
  }
  return true;
}

std::optional<uint32_t> choose_type(const VkPhysicalDeviceMemoryProperties& memory,
                                    uint32_t allowed, Memory use) {
  for (const VkMemoryPropertyFlags wish : wishes(use)) {
    for (uint32_t i = 0; i < memory.memoryTypeCount; ++i) {
      const bool fits = (memory.memoryTypes[i].propertyFlags & wish) == wish;
      if (allowed >> i & 1 && fits && large_enough(memory, i, use)) return i;
    }
  }
  return std::nullopt;
}

}  // namespace

Result<Buffer> Buffer::make(Device& device, uint64_t bytes, Memory memory) {
  Buffer buffer;
  buffer.device_ = &device;
  buffer.bytes_ = bytes;
  QUERN_CHECK(buffer.allocate(memory));
  return buffer;
}

Status Buffer::allocate(Memory memory) {
  constexpr const char* kWhat = "set aside memory";
  const Api& vk = device_->api();
  VkBufferCreateInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO;
  info.size = allocated(bytes_);
  info.usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT |
               VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT;
  QUERN_CHECK(check(vk.vkCreateBuffer(device_->handle(), &info, nullptr, &handle_), kWhat));
  VkMemoryRequirements needs;
  vk.vkGetBufferMemoryRequirements(device_->handle(), handle_, &needs);
  const auto type = choose_type(device_->memory(), needs.memoryTypeBits, memory);
  if (!type) return check(VK_ERROR_FEATURE_NOT_PRESENT, kWhat);

  VkMemoryAllocateFlagsInfo flags = {};
  flags.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO;
  flags.flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT;
  VkMemoryAllocateInfo allocation = {};
  allocation.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO;
  allocation.pNext = &flags;
  allocation.allocationSize = needs.size;
  allocation.memoryTypeIndex = *type;
  QUERN_CHECK(check(vk.vkAllocateMemory(device_->handle(), &allocation, nullptr, &memory_), kWhat));
  counted_ = needs.size;
  device_->count().add(counted_);
  QUERN_CHECK(check(vk.vkBindBufferMemory(device_->handle(), handle_, memory_, 0), kWhat));
  if (device_->memory().memoryTypes[*type].propertyFlags & VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT) {
    void* view;
    QUERN_CHECK(check(vk.vkMapMemory(device_->handle(), memory_, 0, VK_WHOLE_SIZE, 0, &view),
                      "map memory"));
    mapped_ = static_cast<std::byte*>(view);
  }
  VkBufferDeviceAddressInfo address = {};
  address.sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO;
  address.buffer = handle_;
  address_ = vk.vkGetBufferDeviceAddress(device_->handle(), &address);
  return {};
}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(bytes_, other.bytes_);
  std::swap(address_, other.address_);
  std::swap(counted_, other.counted_);
  std::swap(handle_, other.handle_);
  std::swap(memory_, other.memory_);
  std::swap(mapped_, other.mapped_);
  return *this;
}

Buffer::~Buffer() {
  if (!device_) return;
  const Api& vk = device_->api();
  vk.vkDestroyBuffer(device_->handle(), handle_, nullptr);
  vk.vkFreeMemory(device_->handle(), memory_, nullptr);
  device_->count().remove(counted_);
}

Status Buffer::upload(uint64_t offset, std::span<const std::byte> bytes) {
  assert(offset + bytes.size() <= bytes_);
  if (mapped_) {
    std::ranges::copy(bytes, mapped_ + offset);
    return {};
  }
  QUERN_TRY(Buffer * staging, device_->staging());
  for (uint64_t done = 0; done < bytes.size();) {
    const uint64_t count = std::min(staging->bytes(), bytes.size() - done);
    std::memcpy(staging->mapped(), bytes.data() + done, count);
    QUERN_CHECK(device_->copy(*staging, 0, *this, offset + done, count));
    done += count;
  }
  return {};
}

Status Buffer::download(uint64_t offset, std::span<std::byte> bytes) const {
  assert(offset + bytes.size() <= bytes_);
  if (mapped_) {
    std::copy_n(mapped_ + offset, bytes.size(), bytes.data());
    return {};
  }
  QUERN_TRY(Buffer * staging, device_->staging());
  for (uint64_t done = 0; done < bytes.size();) {
    const uint64_t count = std::min(staging->bytes(), bytes.size() - done);
    QUERN_CHECK(device_->copy(*this, offset + done, *staging, 0, count));
    std::memcpy(bytes.data() + done, staging->mapped(), count);
    done += count;
  }
  return {};
}

}  // namespace quern::kernels::vulkan
