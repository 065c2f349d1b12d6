#include "kernels/vulkan/device.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>

#include "kernels/vulkan/features.h"
#include "kernels/vulkan/pipeline_cache.h"
#include "shaders/modules.h"
#include "shaders/shared.h"

namespace quern::kernels::vulkan {

Result<std::unique_ptr<Device>> Device::create(std::shared_ptr<Instance> instance, size_t index,
                                               const DeviceOptions& options) {
  if (index >= instance->device_count()) {
    return fail(ErrorKind::kUnsupported, "no-vulkan",
                fmt::format("there is no Vulkan device {}; quern doctor lists them", index));
  }
  const DeviceCaps& caps = instance->caps(index);
  if (!caps.unusable.empty()) {
    return fail(ErrorKind::kUnsupported, "no-vulkan",
                fmt::format("{} cannot be used: {}", escape(caps.name), caps.unusable));
  }
  std::unique_ptr<Device> device(new Device(std::move(instance), index));
  QUERN_CHECK(device->open(options));
  return device;
}

Device::Device(std::shared_ptr<Instance> instance, size_t index)
    : instance_(std::move(instance)), index_(index), caps_(instance_->caps(index)) {}

Status Device::open(const DeviceOptions& options) {
  const VkPhysicalDevice physical = instance_->device(index_);
  vkGetPhysicalDeviceMemoryProperties(physical, &memory_);
  FeatureChain features;
  features.enable(caps_);
  const float priority = 1;
  VkDeviceQueueCreateInfo queue = {};
  queue.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO;
  queue.queueFamilyIndex = caps_.queue_family;
  queue.queueCount = 1;
  queue.pQueuePriorities = &priority;
  const std::vector<const char*> extensions = FeatureChain::extensions(caps_);
  VkDeviceCreateInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO;
  info.pNext = features.head();
  info.queueCreateInfoCount = 1;
  info.pQueueCreateInfos = &queue;
  info.enabledExtensionCount = static_cast<uint32_t>(extensions.size());
  info.ppEnabledExtensionNames = extensions.data();
  QUERN_CHECK(check(vkCreateDevice(physical, &info, nullptr, &device_), "start"));
  volkLoadDeviceTable(&api_, device_);
  if (instance_->validates()) {
    set_name_ = reinterpret_cast<PFN_vkSetDebugUtilsObjectNameEXT>(
        vkGetDeviceProcAddr(device_, "vkSetDebugUtilsObjectNameEXT"));
  }
  if (options.patch) options.patch(api_);
  if (!options.cache_folder.empty()) {
    pipelines_path_ = pipeline_cache_path(options.cache_folder, caps_);
  }
  QUERN_CHECK(open_queue());
  return open_pipelines();
}

Status Device::open_queue() {
  api_.vkGetDeviceQueue(device_, caps_.queue_family, 0, &queue_);
  VkSemaphoreTypeCreateInfo type = {};
  type.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO;
  type.semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE;
  VkSemaphoreCreateInfo semaphore = {};
  semaphore.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO;
  semaphore.pNext = &type;
  QUERN_CHECK(
      check(api_.vkCreateSemaphore(device_, &semaphore, nullptr, &timeline_), "make a semaphore"));
  VkCommandPoolCreateInfo pool = {};
  pool.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO;
  pool.queueFamilyIndex = caps_.queue_family;
  return check(api_.vkCreateCommandPool(device_, &pool, nullptr, &pool_), "make a command pool");
}

Status Device::open_pipelines() {
  const VkPushConstantRange range = {VK_SHADER_STAGE_COMPUTE_BIT, 0, shaders::kMaxPushBytes};
  VkPipelineLayoutCreateInfo layout = {};
  layout.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO;
  layout.pushConstantRangeCount = 1;
  layout.pPushConstantRanges = &range;
  QUERN_CHECK(check(api_.vkCreatePipelineLayout(device_, &layout, nullptr, &layout_),
                    "make a pipeline layout"));
  std::vector<std::byte> data;
  if (!pipelines_path_.empty()) data = read_pipeline_cache(pipelines_path_, caps_);
  VkPipelineCacheCreateInfo cache = {};
  cache.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO;
  cache.initialDataSize = data.size();
  cache.pInitialData = data.data();
  return check(api_.vkCreatePipelineCache(device_, &cache, nullptr, &pipelines_),
               "make a pipeline cache");
}

Device::~Device() {
  if (!device_) return;
  api_.vkDeviceWaitIdle(device_);
  // A cache that cannot be written costs time at the next start, nothing else.
  if (pipelines_grew_ && !pipelines_path_.empty()) static_cast<void>(save_pipelines());
  staging_.reset();
  for (const auto& [key, kernel] : kernels_) {
    api_.vkDestroyPipeline(device_, kernel.pipeline, nullptr);
  }
  api_.vkDestroyPipelineCache(device_, pipelines_, nullptr);
  api_.vkDestroyPipelineLayout(device_, layout_, nullptr);
  api_.vkDestroyCommandPool(device_, pool_, nullptr);
  api_.vkDestroySemaphore(device_, timeline_, nullptr);
  api_.vkDestroyDevice(device_, nullptr);
}

Status Device::save_pipelines() {
  size_t bytes = 0;
  QUERN_CHECK(check(api_.vkGetPipelineCacheData(device_, pipelines_, &bytes, nullptr),
                    "read its pipelines"));
  std::vector<std::byte> data(bytes);
  QUERN_CHECK(check(api_.vkGetPipelineCacheData(device_, pipelines_, &bytes, data.data()),
                    "read its pipelines"));
  data.resize(bytes);
  return write_pipeline_cache(pipelines_path_, data);
}

void Device::name_object(VkObjectType type, uint64_t handle, const std::string& name) const {
  if (!set_name_) return;
  VkDebugUtilsObjectNameInfoEXT info = {};
  info.sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_OBJECT_NAME_INFO_EXT;
  info.objectType = type;
  info.objectHandle = handle;
  info.pObjectName = name.c_str();
  set_name_(device_, &info);  // a tool may lack a name, nothing else
}

Result<VkShaderModule> Device::make_module(std::span<const uint32_t> words) {
  VkShaderModuleCreateInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO;
  info.codeSize = words.size_bytes();
  info.pCode = words.data();
  VkShaderModule module;
  QUERN_CHECK(check(api_.vkCreateShaderModule(device_, &info, nullptr, &module), "load a shader"));
  return module;
}

bool Device::offers(std::string_view name) const { return shaders::find_module(name) != nullptr; }

Result<const Kernel*> Device::kernel(std::string_view name, std::span<const uint32_t> constants) {
  KernelKey key{std::string(name), {constants.begin(), constants.end()}};
  if (const auto known = kernels_.find(key); known != kernels_.end()) return &known->second;
  const shaders::Module* source = shaders::find_module(name);
  if (!source) {
    return fail(ErrorKind::kUnsupported, "no-kernel",
                fmt::format("Quern has no Vulkan shader {}", name));
  }
  QUERN_TRY(const VkShaderModule module, make_module(source->words));
  std::vector<VkSpecializationMapEntry> entries;
  for (uint32_t i = 0; i < constants.size(); ++i) entries.push_back({i, i * 4, 4});
  const VkSpecializationInfo specialization = {static_cast<uint32_t>(entries.size()),
                                               entries.data(), constants.size_bytes(),
                                               constants.data()};
  VkComputePipelineCreateInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO;
  info.stage.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO;
  info.stage.stage = VK_SHADER_STAGE_COMPUTE_BIT;
  info.stage.module = module;
  info.stage.pName = "main";
  info.stage.pSpecializationInfo = &specialization;
  // Without it a driver may make subgroups smaller than it says.
  VkPipelineShaderStageRequiredSubgroupSizeCreateInfo size = {};
  size.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO;
  size.requiredSubgroupSize = caps_.subgroup_size;
  if (caps_.subgroup_size_control) info.stage.pNext = &size;
  info.layout = layout_;
  Kernel kernel{.name = std::string(name), .push_bytes = push_bytes(source->words)};
  if (!constants.empty()) kernel.width = constants[0];
  const VkResult result =
      api_.vkCreateComputePipelines(device_, pipelines_, 1, &info, nullptr, &kernel.pipeline);
  api_.vkDestroyShaderModule(device_, module, nullptr);
  QUERN_CHECK(check(result, fmt::format("compile the shader {}", name)));
  name_object(VK_OBJECT_TYPE_PIPELINE, reinterpret_cast<uint64_t>(kernel.pipeline), kernel.name);
  pipelines_grew_ = true;
  return &kernels_.emplace(std::move(key), std::move(kernel)).first->second;
}

Result<const Kernel*> Device::kernel(std::string_view name, uint32_t width) {
  const uint32_t constants[] = {width, caps_.subgroup_size};
  return kernel(name, constants);
}

void Device::use_variants(const Variant& few, const Variant& many) {
  assert(few.runs_on(caps_) && many.runs_on(caps_));
  few_ = &few;
  many_ = &many;
}

std::string Device::product_kernel(std::string_view plain, bool many) const {
  const std::string name = (many ? many_ : few_)->kernel(plain);
  return offers(name) ? name : std::string(plain);
}

Result<VkCommandBuffer> Device::begin_commands() {
  VkCommandBufferAllocateInfo allocate = {};
  allocate.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO;
  allocate.commandPool = pool_;
  allocate.level = VK_COMMAND_BUFFER_LEVEL_PRIMARY;
  allocate.commandBufferCount = 1;
  VkCommandBuffer commands;
  QUERN_CHECK(
      check(api_.vkAllocateCommandBuffers(device_, &allocate, &commands), "make a command buffer"));
  VkCommandBufferBeginInfo begin = {};
  begin.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO;
  if (const Status status = check(api_.vkBeginCommandBuffer(commands, &begin), "record commands");
      !status) {
    free_commands(commands);
    return tl::unexpected(status.error());
  }
  return commands;
}

Status Device::end_commands(VkCommandBuffer commands) {
  // What the device wrote becomes visible to the CPU.
  const VkMemoryBarrier barrier = {VK_STRUCTURE_TYPE_MEMORY_BARRIER, nullptr,
                                   VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
                                   VK_ACCESS_HOST_READ_BIT};
  api_.vkCmdPipelineBarrier(commands,
                            VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT,
                            VK_PIPELINE_STAGE_HOST_BIT, 0, 1, &barrier, 0, nullptr, 0, nullptr);
  return check(api_.vkEndCommandBuffer(commands), "record commands");
}

void Device::free_commands(VkCommandBuffer commands) {
  api_.vkFreeCommandBuffers(device_, pool_, 1, &commands);
}

Status Device::submit(VkCommandBuffer commands) {
  const uint64_t before = submitted_, after = submitted_ + 1;
  VkTimelineSemaphoreSubmitInfo values = {};
  values.sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO;
  values.waitSemaphoreValueCount = values.signalSemaphoreValueCount = 1;
  values.pWaitSemaphoreValues = &before;
  values.pSignalSemaphoreValues = &after;
  const VkPipelineStageFlags stage = VK_PIPELINE_STAGE_ALL_COMMANDS_BIT;
  VkSubmitInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO;
  info.pNext = &values;
  info.waitSemaphoreCount = info.signalSemaphoreCount = info.commandBufferCount = 1;
  info.pWaitSemaphores = info.pSignalSemaphores = &timeline_;
  info.pWaitDstStageMask = &stage;
  info.pCommandBuffers = &commands;
  QUERN_CHECK(check(api_.vkQueueSubmit(queue_, 1, &info, VK_NULL_HANDLE), "start work"));
  submitted_ = after;
  return {};
}

Status Device::wait() {
  VkSemaphoreWaitInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO;
  info.semaphoreCount = 1;
  info.pSemaphores = &timeline_;
  info.pValues = &submitted_;
  return check(api_.vkWaitSemaphores(device_, &info, UINT64_MAX), "finish work");
}

void Device::dispatch(VkCommandBuffer commands, const Kernel& kernel,
                      std::span<const std::byte> push, Groups groups) const {
  assert(push.size() == kernel.push_bytes);
  api_.vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, kernel.pipeline);
  api_.vkCmdPushConstants(commands, layout_, VK_SHADER_STAGE_COMPUTE_BIT, 0,
                          static_cast<uint32_t>(push.size()), push.data());
  api_.vkCmdDispatch(commands, groups.x, groups.y, groups.z);
}

Status Device::run(const std::function<void(VkCommandBuffer)>& record) {
  QUERN_TRY(const VkCommandBuffer commands, begin_commands());
  record(commands);
  Status status = end_commands(commands);
  if (status) status = submit(commands);
  if (status) status = wait();
  free_commands(commands);
  return status;
}

Status Device::copy(const Buffer& from, uint64_t from_offset, Buffer& to, uint64_t to_offset,
                    uint64_t bytes) {
  return run([&](VkCommandBuffer commands) {
    const VkBufferCopy region = {from_offset, to_offset, bytes};
    api_.vkCmdCopyBuffer(commands, from.handle(), to.handle(), 1, &region);
  });
}

Result<Buffer*> Device::staging() {
  if (!staging_) {
    QUERN_TRY(staging_, Buffer::make(*this, kStagingBytes, Memory::kReadback));
  }
  return &*staging_;
}

}  // namespace quern::kernels::vulkan
