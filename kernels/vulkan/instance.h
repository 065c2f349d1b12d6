// Instance: the connection to the Vulkan loader, and what each device behind it can do.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "kernels/vulkan/api.h"

namespace quern::kernels::vulkan {

// What is known of a device before it is used.
struct DeviceCaps {
  std::string name;      // as its driver says, without control characters
  std::string uuid;      // 32 hexadecimal digits, the same after a restart
  std::string driver;    // name and version
  std::string unusable;  // why Quern cannot use it; empty: it can
  VkPhysicalDeviceType type = VK_PHYSICAL_DEVICE_TYPE_OTHER;
  uint32_t api_version = 0;
  uint32_t vendor = 0, device = 0;
  uint8_t pipeline_cache_uuid[VK_UUID_SIZE] = {};

  uint32_t queue_family = 0;  // one that computes
  uint32_t timestamp_bits = 0;
  float timestamp_period = 1;  // nanoseconds per tick

  uint32_t subgroup_size = 0;
  uint32_t max_invocations = 0;  // per workgroup
  uint32_t shared_bytes = 0;     // per workgroup
  uint64_t max_allocation = 0;   // bytes of one buffer with memory of its own
  uint64_t local_bytes = 0;      // of its own memory

  bool float16 = false;                // arithmetic
  bool integer_dot = false;            // VK_KHR_shader_integer_dot_product
  bool memory_budget = false;          // VK_EXT_memory_budget
  bool subgroup_size_control = false;  // subgroups of computations are as large as asked
  bool cooperative_matrix = false;     // VK_KHR_cooperative_matrix
  bool matrices = false;  // what the variant coopmat needs of matrix units (matrices.h)
};

// Bytes that buffers have allocated, and that executables have read back. For any thread.
class MemoryCount {
 public:
  void add(uint64_t bytes);
  void remove(uint64_t bytes) { now_ -= bytes; }
  uint64_t now() const { return now_; }
  uint64_t peak() const { return peak_; }

  // Results that the CPU has read.
  void add_read(uint64_t bytes) { read_ += bytes; }
  uint64_t read() const { return read_; }

 private:
  std::atomic<uint64_t> now_ = 0, peak_ = 0, read_ = 0;
};

class Instance {
 public:
  // `validation` adds the Khronos layer with synchronization checks where it is installed; its
  // messages are counted. Errors: "no-vulkan" (no loader or no driver), those of check().
  static Result<std::shared_ptr<Instance>> create(bool validation = false);
  // The same, made at the first call, which alone decides about validation, and kept until the
  // process ends: drivers lose memory, or worse, when they are unloaded and loaded again. For any
  // thread.
  static Result<std::shared_ptr<Instance>> shared(bool validation = false);
  Instance(const Instance&) = delete;
  Instance& operator=(const Instance&) = delete;
  ~Instance();

  size_t device_count() const { return devices_.size(); }
  VkPhysicalDevice device(size_t index) const { return devices_[index]; }
  const DeviceCaps& caps(size_t index) const { return caps_[index]; }
  // Bytes of a device's own memory that are free for this process, as far as the driver tells.
  uint64_t free_bytes(size_t index) const;
  // What buffers take of each device.
  MemoryCount& count(size_t index) { return counts_[index]; }

  bool validates() const { return messenger_ != VK_NULL_HANDLE; }
  // What the validation layer has said so far.
  const std::vector<std::string>& messages() const { return messages_; }

 private:
  Instance() = default;
  Status enumerate();

  VkInstance instance_ = VK_NULL_HANDLE;
  VkDebugUtilsMessengerEXT messenger_ = VK_NULL_HANDLE;
  std::vector<std::string> messages_;
  std::vector<VkPhysicalDevice> devices_;
  std::vector<DeviceCaps> caps_;
  std::deque<MemoryCount> counts_;
};

}  // namespace quern::kernels::vulkan
