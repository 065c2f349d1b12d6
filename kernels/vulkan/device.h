// Device: one GPU, opened: its queue, its kernels, and how work is given to it. For one thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/vulkan/buffer.h"
#include "kernels/vulkan/instance.h"
#include "kernels/vulkan/kernel.h"
#include "kernels/vulkan/variants.h"

namespace quern::kernels::vulkan {

struct DeviceOptions {
  std::string cache_folder;           // of the pipeline cache; empty: none is kept
  std::function<void(Api&)> patch{};  // changes the functions before their first use: for tests
};

class Device {
 public:
  // Errors: "no-vulkan" (no such device, or it lacks what Quern needs), those of check().
  static Result<std::unique_ptr<Device>> create(std::shared_ptr<Instance> instance, size_t index,
                                                const DeviceOptions& options = {});
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  ~Device();  // waits for its work, and keeps the pipeline cache

  const DeviceCaps& caps() const { return caps_; }
  const Api& api() const { return api_; }
  VkDevice handle() const { return device_; }
  VkPipelineLayout layout() const { return layout_; }
  const VkPhysicalDeviceMemoryProperties& memory() const { return memory_; }
  // Bytes of its own memory that are free for this process, as far as the driver tells.
  uint64_t free_bytes() const { return instance_->free_bytes(index_); }
  MemoryCount& count() { return instance_->count(index_); }

  // Whether there is such a shader.
  bool offers(std::string_view name) const;
  // The shader `name` (shaders/modules.h) with specialization constants 0, 1, …; compiled at its
  // first use, and kept. Errors: "no-kernel", those of check().
  Result<const Kernel*> kernel(std::string_view name, std::span<const uint32_t> constants);
  // With the usual ones: a workgroup of `width`, and the device's subgroup size.
  Result<const Kernel*> kernel(std::string_view name, uint32_t width = 64);

  // The variants that products are recorded with from now on: of few rows (matvec) and of many
  // (matmul). Where one has no shader for a format, the exact one computes. They must run on it.
  void use_variants(const Variant& few, const Variant& many);
  // The kernel that computes "matvec_q4_k", of few rows, or "matmul_q4_k".
  std::string product_kernel(std::string_view plain, bool many) const;

  // A command buffer that can be submitted again and again.
  Result<VkCommandBuffer> begin_commands();
  Status end_commands(VkCommandBuffer commands);
  void free_commands(VkCommandBuffer commands);

  // Runs commands after all that was submitted before; wait() returns when everything is done.
  Status submit(VkCommandBuffer commands);
  Status wait();

  // Puts one dispatch into a command buffer. `push` are the kernel's push constants.
  void dispatch(VkCommandBuffer commands, const Kernel& kernel, std::span<const std::byte> push,
                Groups groups) const;
  // Records one dispatch, runs it and waits.
  template <typename Push>
  Status dispatch_and_wait(const Kernel& kernel, const Push& push, Groups groups) {
    return run([&](VkCommandBuffer commands) {
      dispatch(commands, kernel, std::as_bytes(std::span(&push, 1)), groups);
    });
  }
  Status copy(const Buffer& from, uint64_t from_offset, Buffer& to, uint64_t to_offset,
              uint64_t bytes);
  // Records what `record` records, runs it and waits.
  Status run(const std::function<void(VkCommandBuffer)>& record);

  // Memory through which uploads and downloads pass where the CPU does not see the device's.
  static constexpr uint64_t kStagingBytes = 16 << 20;
  Result<Buffer*> staging();

 private:
  Device(std::shared_ptr<Instance> instance, size_t index);
  Status open(const DeviceOptions& options);
  Status open_queue();
  Status open_pipelines();
  // For tools: where debug names are switched on.
  void name_object(VkObjectType type, uint64_t handle, const std::string& name) const;
  Result<VkShaderModule> make_module(std::span<const uint32_t> words);
  Status save_pipelines();

  using KernelKey = std::pair<std::string, std::vector<uint32_t>>;

  std::shared_ptr<Instance> instance_;
  size_t index_;  // in the instance
  DeviceCaps caps_;
  VkPhysicalDeviceMemoryProperties memory_ = {};
  Api api_ = {};
  VkDevice device_ = VK_NULL_HANDLE;
  VkQueue queue_ = VK_NULL_HANDLE;
  VkSemaphore timeline_ = VK_NULL_HANDLE;  // counts finished submissions
  uint64_t submitted_ = 0;
  VkCommandPool pool_ = VK_NULL_HANDLE;
  VkPipelineLayout layout_ = VK_NULL_HANDLE;
  VkPipelineCache pipelines_ = VK_NULL_HANDLE;
  std::string pipelines_path_;
  bool pipelines_grew_ = false;
  PFN_vkSetDebugUtilsObjectNameEXT set_name_ = nullptr;  // VK_EXT_debug_utils
  const Variant* few_ = &exact_variant();
  const Variant* many_ = &exact_variant();
  std::map<KernelKey, Kernel> kernels_;
  std::optional<Buffer> staging_;
};

}  // namespace quern::kernels::vulkan
