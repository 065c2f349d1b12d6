// What the rest of Quern sees of Vulkan. A build without it has the same functions, which say so
// (vulkan_stub.cpp).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/backend.h"

namespace quern::kernels {

struct VulkanDevice {
  std::string name;             // as its driver says, for example "NVIDIA H200"
  std::string uuid;             // 32 hexadecimal digits, the same after a restart
  std::string driver;           // name and version
  std::string kind;             // "discrete", "integrated", "virtual", "software" or "other"
  std::string unusable;         // why Quern cannot use it; empty: it can
  uint64_t memory = 0;          // bytes of its largest heap
  uint64_t free = 0;            // of these, what this process may take, as far as the driver tells
  uint64_t max_allocation = 0;  // bytes that it allocates at once, at most
  uint32_t subgroup_size = 0;
  bool float16 = false, cooperative_matrix = false;
};

// Every device that a driver reports, usable or not. Error: "no-vulkan" where there is no loader,
// no driver, or no Vulkan in this build.
Result<std::vector<VulkanDevice>> list_vulkan_devices();

// The device that a user means: its index ("0"), its UUID, or a part of its name, in any case.
// Error: "device-name", with what there is.
Result<size_t> find_vulkan_device(const std::vector<VulkanDevice>& devices,
                                  std::string_view wanted);

// What a backend will allocate for a program, to the byte, known without opening a device.
struct VulkanBytes {
  uint64_t weights = 0;
  uint64_t workspace = 0;  // intermediate results, and the tables of formats
  uint64_t uploads = 0;    // what the CPU writes for each step: its rows, a part's input
  uint64_t readbacks = 0;  // what it reads: a part's output
  // What weights go through that the CPU cannot write to; not for devices in the host's memory.
  uint64_t staging = 0;
  uint64_t largest = 0;  // that must be allocated at once
};
struct VulkanCacheBytes {
  uint64_t all = 0, largest = 0;
};
// `at_once`: bytes that the device allocates at once, at most. Error: "no-vulkan" in a build
// without it.
Result<VulkanBytes> vulkan_bytes(const Program& program, const MaxBatch& max,
                                 uint64_t at_once = UINT64_MAX);
Result<VulkanCacheBytes> vulkan_cache_bytes(const Program& program, CacheType type,
                                            const BlockCounts& blocks,
                                            uint64_t at_once = UINT64_MAX);
Result<VulkanCacheBytes> vulkan_state_bytes(const Program& program, uint64_t slots,
                                            uint64_t at_once = UINT64_MAX);
// Of one block in the caches of all layers, without what buffers are rounded up by.
Result<uint64_t> vulkan_cache_block_bytes(const Program& program, CacheType type);

// Bytes that backends have allocated on a device, now and at most so far; and bytes of results that
// the CPU has read.
struct VulkanUsage {
  uint64_t now, peak, read;
};
Result<VulkanUsage> vulkan_usage(size_t device);

struct VulkanOptions {
  std::string cache_folder;  // compiled pipelines are kept here; empty: nowhere
};

// Errors: "no-vulkan"; "device-memory", "out-of-memory", "device-lost", "vulkan".
Result<std::unique_ptr<Backend>> make_vulkan_backend(size_t device, const VulkanOptions& options);

}  // namespace quern::kernels
