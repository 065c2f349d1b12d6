#include "kernels/vulkan/features.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "shaders/shared.h"

namespace quern::kernels::vulkan {
namespace {

// Every needed feature once: where it is, and its name in a sentence.
template <typename Core, typename V11, typename V12, typename Visit>
void each_needed(Core& core, V11& v11, V12& v12, Visit visit) {
  visit(core.shaderInt16, "16-bit integers");
  visit(core.shaderInt64, "64-bit integers");
  visit(v11.storageBuffer16BitAccess, "16-bit storage");
  visit(v12.storageBuffer8BitAccess, "8-bit storage");
  visit(v12.shaderInt8, "8-bit integers");
  visit(v12.scalarBlockLayout, "scalar block layout");
  visit(v12.bufferDeviceAddress, "buffer device addresses");
  visit(v12.timelineSemaphore, "timeline semaphores");
}

std::string printable(const char* text) {
  std::string clean = text;
  std::ranges::replace_if(
      clean, [](char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7F'; }, '?');
  return clean;
}

std::optional<uint32_t> compute_family(VkPhysicalDevice device, uint32_t& timestamp_bits) {
  uint32_t count = 0;
  vkGetPhysicalDeviceQueueFamilyProperties(device, &count, nullptr);
  std::vector<VkQueueFamilyProperties> families(count);
  vkGetPhysicalDeviceQueueFamilyProperties(device, &count, families.data());
  for (uint32_t i = 0; i < count; ++i) {
    if (!(families[i].queueFlags & VK_QUEUE_COMPUTE_BIT)) continue;
    timestamp_bits = families[i].timestampValidBits;
    return i;
  }
  return std::nullopt;
}

bool has_extension(const std::vector<VkExtensionProperties>& extensions, const char* name) {
  return std::ranges::any_of(extensions, [&](const VkExtensionProperties& extension) {
    return std::strcmp(extension.extensionName, name) == 0;
  });
}

void read_extensions(VkPhysicalDevice device, DeviceCaps& caps) {
  uint32_t count = 0;
  vkEnumerateDeviceExtensionProperties(device, nullptr, &count, nullptr);
  std::vector<VkExtensionProperties> extensions(count);
  vkEnumerateDeviceExtensionProperties(device, nullptr, &count, extensions.data());
  caps.memory_budget = has_extension(extensions, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
  caps.integer_dot = has_extension(extensions, VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME);
  caps.subgroup_size_control &=
      has_extension(extensions, VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME);
  caps.matrices = has_extension(extensions, kMatrixExtension);
  caps.cooperative_matrix = has_extension(extensions, "VK_KHR_cooperative_matrix");
}

void read_memory(VkPhysicalDevice device, DeviceCaps& caps) {
  VkPhysicalDeviceMemoryProperties memory;
  vkGetPhysicalDeviceMemoryProperties(device, &memory);
  for (uint32_t i = 0; i < memory.memoryHeapCount; ++i) {
    if (!(memory.memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT)) continue;
    caps.local_bytes = std::max<uint64_t>(caps.local_bytes, memory.memoryHeaps[i].size);
  }
}

void read_properties(VkPhysicalDevice device, DeviceCaps& caps) {
  VkPhysicalDeviceVulkan11Properties v11 = {};
  v11.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES;
  VkPhysicalDeviceSubgroupSizeControlProperties sizes = {};
  sizes.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES;
  VkPhysicalDeviceVulkan12Properties v12 = {};
  v12.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES;
  v12.pNext = &v11;
  v11.pNext = &sizes;
  VkPhysicalDeviceProperties2 properties = {};
  properties.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2;
  properties.pNext = &v12;
  vkGetPhysicalDeviceProperties2(device, &properties);
  const VkPhysicalDeviceProperties& core = properties.properties;
  for (const uint8_t byte : v11.deviceUUID) caps.uuid += fmt::format("{:02x}", byte);
  caps.driver = fmt::format("{} {}", printable(v12.driverName), printable(v12.driverInfo));
  std::memcpy(caps.pipeline_cache_uuid, core.pipelineCacheUUID, VK_UUID_SIZE);
  caps.timestamp_period = core.limits.timestampPeriod;
  caps.subgroup_size = v11.subgroupSize;
  caps.subgroup_size_control = sizes.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT;
  caps.max_invocations = core.limits.maxComputeWorkGroupInvocations;
  caps.shared_bytes = core.limits.maxComputeSharedMemorySize;
  caps.max_allocation = v11.maxMemoryAllocationSize;
  constexpr VkSubgroupFeatureFlags kNeeded =
      VK_SUBGROUP_FEATURE_BASIC_BIT | VK_SUBGROUP_FEATURE_ARITHMETIC_BIT;
  if ((v11.subgroupSupportedOperations & kNeeded) != kNeeded) {
    caps.unusable = "it lacks subgroup arithmetic";
  }
  if (core.limits.maxPushConstantsSize < shaders::kMaxPushBytes) {
    caps.unusable =
        fmt::format("it has fewer than {} bytes of push constants", shaders::kMaxPushBytes);
  }
}

}  // namespace

FeatureChain::FeatureChain() {
  core_.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2;
  core_.pNext = &v11_;
  v11_.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES;
  v11_.pNext = &v12_;
  v12_.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES;
  v12_.pNext = &integer_dot_;
  integer_dot_.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES;
  integer_dot_.pNext = &subgroup_size_;
  subgroup_size_.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES;
  subgroup_size_.pNext = &matrices_;
}

void FeatureChain::query(VkPhysicalDevice device) { vkGetPhysicalDeviceFeatures2(device, &core_); }

void FeatureChain::enable(const DeviceCaps& caps) {
  each_needed(core_.features, v11_, v12_,
              [](VkBool32& feature, const char*) { feature = VK_TRUE; });
  v12_.shaderFloat16 = caps.float16;
  v12_.vulkanMemoryModel = caps.matrices;  // which cooperative matrices are defined by
  integer_dot_.shaderIntegerDotProduct = caps.integer_dot;
  subgroup_size_.subgroupSizeControl = caps.subgroup_size_control;
  matrices_.cooperativeMatrix = caps.matrices;
  // A driver without an extension must not see its structure.
  void** end = &v12_.pNext;
  const auto link = [&](bool wanted, auto& features) {
    if (wanted) *end = &features, end = &features.pNext;
  };
  link(caps.integer_dot, integer_dot_);
  link(caps.subgroup_size_control, subgroup_size_);
  link(caps.matrices, matrices_);
  *end = nullptr;
}

std::vector<const char*> FeatureChain::extensions(const DeviceCaps& caps) {
  std::vector<const char*> names;
  if (caps.memory_budget) names.push_back(VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
  if (caps.integer_dot) names.push_back(VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME);
  if (caps.subgroup_size_control) names.push_back(VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME);
  if (caps.matrices) names.push_back(kMatrixExtension);
  return names;
}

std::string FeatureChain::missing() const {
  std::string first;
  each_needed(core_.features, v11_, v12_, [&](VkBool32 feature, const char* name) {
    if (!feature && first.empty()) first = name;
  });
  return first;
}

DeviceCaps read_caps(VkPhysicalDevice device) {
  VkPhysicalDeviceProperties properties;
  vkGetPhysicalDeviceProperties(device, &properties);
  DeviceCaps caps;
  caps.name = printable(properties.deviceName);
  caps.type = properties.deviceType;
  caps.api_version = properties.apiVersion;
  caps.vendor = properties.vendorID;
  caps.device = properties.deviceID;
  if (properties.apiVersion < VK_API_VERSION_1_2) {
    caps.unusable = "its driver is older than Vulkan 1.2";
    return caps;
  }
  read_properties(device, caps);
  read_extensions(device, caps);
  read_memory(device, caps);
  FeatureChain features;
  features.query(device);
  caps.float16 = features.float16();
  caps.integer_dot = caps.integer_dot && features.integer_dot();
  caps.subgroup_size_control = caps.subgroup_size_control && features.subgroup_size();
  caps.matrices = caps.matrices && features.matrices() && multiplies_half_matrices(device);
  if (const std::string missing = features.missing(); !missing.empty()) {
    caps.unusable = fmt::format("it lacks {}", missing);
  }
  if (const auto family = compute_family(device, caps.timestamp_bits)) {
    caps.queue_family = *family;
  } else {
    caps.unusable = "it has no queue that computes";
  }
  return caps;
}

}  // namespace quern::kernels::vulkan
