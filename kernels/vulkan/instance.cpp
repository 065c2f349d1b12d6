#include "kernels/vulkan/instance.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <span>

#include "kernels/vulkan/features.h"

namespace quern::kernels::vulkan {
namespace {

constexpr const char* kValidationLayer = "VK_LAYER_KHRONOS_validation";

bool has_layer(const char* wanted) {
  uint32_t count = 0;
  vkEnumerateInstanceLayerProperties(&count, nullptr);
  std::vector<VkLayerProperties> layers(count);
  vkEnumerateInstanceLayerProperties(&count, layers.data());
  return std::ranges::any_of(
      layers, [&](const auto& layer) { return std::strcmp(layer.layerName, wanted) == 0; });
}

VkBool32 VKAPI_PTR on_message(VkDebugUtilsMessageSeverityFlagBitsEXT,
                              VkDebugUtilsMessageTypeFlagsEXT,
                              const VkDebugUtilsMessengerCallbackDataEXT* data, void* messages) {
  static_cast<std::vector<std::string>*>(messages)->emplace_back(data->pMessage);
  return VK_FALSE;
}

VkDebugUtilsMessengerCreateInfoEXT messenger_info(std::vector<std::string>* messages) {
  return {.sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
          .pNext = nullptr,
          .flags = 0,
          .messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT |
                             VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
          .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT,
          .pfnUserCallback = on_message,
          .pUserData = messages};
}

tl::unexpected<Error> no_vulkan(std::string_view why) {
  return fail(ErrorKind::kUnsupported, "no-vulkan",
              fmt::format("there is no usable Vulkan GPU here: {}", why));
}

Result<VkInstance> create_instance(bool validation) {
  constexpr VkValidationFeatureEnableEXT kEnabled[] = {
      VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT};
  const VkValidationFeaturesEXT features = {
      VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT, nullptr, 1, kEnabled, 0, nullptr};
  const char* const extensions[] = {VK_EXT_DEBUG_UTILS_EXTENSION_NAME};
  const VkApplicationInfo application = {
      VK_STRUCTURE_TYPE_APPLICATION_INFO, nullptr, "quern", 1, "quern", 1, VK_API_VERSION_1_3};
  VkInstanceCreateInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO;
  info.pApplicationInfo = &application;
  if (validation) {
    info.pNext = &features;
    info.enabledLayerCount = 1;
    info.ppEnabledLayerNames = &kValidationLayer;
    info.enabledExtensionCount = 1;
    info.ppEnabledExtensionNames = extensions;
  }
  VkInstance instance;
  const VkResult result = vkCreateInstance(&info, nullptr, &instance);
  if (result == VK_ERROR_INCOMPATIBLE_DRIVER) return no_vulkan("no driver is installed");
  QUERN_CHECK(check(result, "start Vulkan"));
  return instance;
}

}  // namespace

Result<std::shared_ptr<Instance>> Instance::create(bool validation) {
  static const bool loaded = volkInitialize() == VK_SUCCESS;
  if (!loaded) return no_vulkan("the Vulkan loader is not installed");
  if (volkGetInstanceVersion() < VK_API_VERSION_1_2) {
    return no_vulkan("the Vulkan loader is older than version 1.2");
  }
  validation = validation && has_layer(kValidationLayer);
  std::shared_ptr<Instance> instance(new Instance());
  QUERN_TRY(instance->instance_, create_instance(validation));
  volkLoadInstanceOnly(instance->instance_);
  if (validation) {
    const auto info = messenger_info(&instance->messages_);
    QUERN_CHECK(check(
        vkCreateDebugUtilsMessengerEXT(instance->instance_, &info, nullptr, &instance->messenger_),
        "report messages"));
  }
  QUERN_CHECK(instance->enumerate());
  return instance;
}

Result<std::shared_ptr<Instance>> Instance::shared(bool validation) {
  static std::mutex mutex;
  // Never freed, on purpose: see the header.
  static auto& instance = *new std::shared_ptr<Instance>;
  const std::lock_guard lock(mutex);
  if (!instance) {
    QUERN_TRY(instance, create(validation));
  }
  return instance;
}

Instance::~Instance() {
  if (messenger_) {
    // Not volk's pointer: it belongs to the instance that was made last, maybe without the
    // extension.
    const auto destroy = reinterpret_cast<PFN_vkDestroyDebugUtilsMessengerEXT>(
        vkGetInstanceProcAddr(instance_, "vkDestroyDebugUtilsMessengerEXT"));
    destroy(instance_, messenger_, nullptr);
  }
  if (instance_) vkDestroyInstance(instance_, nullptr);
}

Status Instance::enumerate() {
  uint32_t count = 0;
  QUERN_CHECK(check(vkEnumeratePhysicalDevices(instance_, &count, nullptr), "list devices"));
  devices_.resize(count);
  QUERN_CHECK(
      check(vkEnumeratePhysicalDevices(instance_, &count, devices_.data()), "list devices"));
  devices_.resize(count);
  for (VkPhysicalDevice device : devices_) caps_.push_back(read_caps(device));
  counts_.resize(count);
  return {};
}

uint64_t Instance::free_bytes(size_t index) const {
  VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = {};
  budget.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT;
  VkPhysicalDeviceMemoryProperties2 properties = {};
  properties.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2;
  if (caps_[index].memory_budget) properties.pNext = &budget;
  vkGetPhysicalDeviceMemoryProperties2(devices_[index], &properties);
  const VkPhysicalDeviceMemoryProperties& memory = properties.memoryProperties;
  uint64_t most = 0;
  for (uint32_t i = 0; i < memory.memoryHeapCount; ++i) {
    if (!(memory.memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT)) continue;
    const uint64_t used = budget.heapUsage[i];
    const uint64_t limit =
        caps_[index].memory_budget ? budget.heapBudget[i] : memory.memoryHeaps[i].size;
    most = std::max(most, limit - std::min(used, limit));
  }
  return most;
}

void MemoryCount::add(uint64_t bytes) {
  const uint64_t now = now_ += bytes;
  for (uint64_t peak = peak_; peak < now && !peak_.compare_exchange_weak(peak, now);) {
  }
}

}  // namespace quern::kernels::vulkan
