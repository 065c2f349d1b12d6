// Lists devices for people and finds the one that they mean.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>

#include "kernels/vulkan.h"
#include "kernels/vulkan/instance.h"

namespace quern::kernels {
namespace {

std::string kind_name(VkPhysicalDeviceType type) {
  switch (type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
      return "discrete";
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
      return "integrated";
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU:
      return "virtual";
    case VK_PHYSICAL_DEVICE_TYPE_CPU:
      return "software";
    default:
      return "other";
  }
}

std::string lower(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(), [](unsigned char c) { return std::tolower(c); });
  return result;
}

std::string list_names(const std::vector<VulkanDevice>& devices) {
  std::string text;
  for (size_t i = 0; i < devices.size(); ++i) {
    text += fmt::format("{}{} ({})", i ? ", " : "", i, escape(devices[i].name));
  }
  return text.empty() ? "none" : text;
}

}  // namespace

Result<std::vector<VulkanDevice>> list_vulkan_devices() {
  QUERN_TRY(const auto instance, vulkan::Instance::shared());
  std::vector<VulkanDevice> devices;
  for (size_t i = 0; i < instance->device_count(); ++i) {
    const vulkan::DeviceCaps& caps = instance->caps(i);
    devices.push_back({.name = caps.name,
                       .uuid = caps.uuid,
                       .driver = caps.driver,
                       .kind = kind_name(caps.type),
                       .unusable = caps.unusable,
                       .memory = caps.local_bytes,
                       .free = instance->free_bytes(i),
                       .max_allocation = caps.max_allocation,
                       .subgroup_size = caps.subgroup_size,
                       .float16 = caps.float16,
                       .cooperative_matrix = caps.cooperative_matrix});
  }
  return devices;
}

Result<size_t> find_vulkan_device(const std::vector<VulkanDevice>& devices,
                                  std::string_view wanted) {
  size_t index = 0;
  const char* end = wanted.data() + wanted.size();
  if (const auto [stop, error] = std::from_chars(wanted.data(), end, index);
      error == std::errc() && stop == end && index < devices.size()) {
    return index;
  }
  const std::string text = lower(wanted);
  for (size_t i = 0; i < devices.size() && !text.empty(); ++i) {
    if (devices[i].uuid == text || lower(devices[i].name).find(text) != std::string::npos) return i;
  }
  return bad_input("device-name", fmt::format("there is no Vulkan device {}; there are: {}",
                                              escape(wanted), list_names(devices)));
}

}  // namespace quern::kernels
