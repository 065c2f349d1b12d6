#include "engine/devices.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/device_profile.h"
#include "kernels/os_machine.h"
#include "kernels/system_memory.h"
#include "kernels/vulkan.h"

namespace quern::engine {
namespace {

constexpr std::string_view kVulkan = "vulkan:";

// Of "vulkan:NAME".
Result<size_t> gpu_index(std::string_view name, const std::vector<kernels::VulkanDevice>& gpus) {
  return kernels::find_vulkan_device(gpus, name.substr(kVulkan.size()));
}

// Drivers crash where they cannot map what they need.
Status check_address_space() {
  const auto room = kernels::address_space_room();
  const uint64_t needed = driver_address_space();
  if (!room || *room >= needed) return {};
  return fail(ErrorKind::kFailure, "address-space",
              fmt::format("drivers of GPUs need {} MiB of address space, and {} are left: raise "
                          "ulimit -v, or leave out --device",
                          needed >> 20, *room >> 20));
}

Result<std::vector<kernels::VulkanDevice>> list_gpus(std::string_view name) {
  if (name.starts_with(kVulkan)) {
    static const Status room = check_address_space();  // once: drivers are loaded once
    QUERN_CHECK(room);
    QUERN_TRY(auto gpus, kernels::list_vulkan_devices());
    if (!gpus.empty()) return gpus;
    return fail(ErrorKind::kUnsupported, "no-vulkan",
                "there is no usable Vulkan GPU here: no driver has a device");
  }
  return bad_input("device-name",
                   fmt::format("no device {}: write cpu, reference, or vulkan: and the number or "
                               "a part of the name of a GPU",
                               escape(name)));
}

Status check_usable(const kernels::VulkanDevice& gpu) {
  if (gpu.unusable.empty()) return {};
  return fail(ErrorKind::kUnsupported, "no-vulkan",
              fmt::format("{} cannot be used: {}", escape(gpu.name), gpu.unusable));
}

}  // namespace

Result<kernels::VulkanDevice> find_gpu(std::string_view name) {
  QUERN_TRY(const auto gpus, list_gpus(name));
  QUERN_TRY(const size_t index, gpu_index(name, gpus));
  return gpus[index];
}

uint64_t driver_address_space() {
  constexpr uint64_t kMiB = 1 << 20;
  return std::max(1024 * kMiB, (512 + 128 * kernels::usable_processors().size()) * kMiB);
}

Result<DeviceProfile> describe_device(std::string_view name) {
  if (name == kReferenceDevice) {
    return DeviceProfile{std::string(name), "scalar arithmetic on the CPU", "", true, 0, 0, 0};
  }
  QUERN_TRY(const kernels::VulkanDevice gpu, find_gpu(name));
  const bool in_host = gpu.kind == "software" || gpu.kind == "integrated";
  return DeviceProfile{std::string(name), gpu.name, gpu.driver,        in_host,
                       gpu.memory,        gpu.free, gpu.max_allocation};
}

Status check_devices(const Placement& placement) {
  const bool layers_asked = placement.layers > 0 && placement.layers != Placement::kEverything;
  if (layers_asked && placement.devices.empty()) {
    return bad_input(
        "place-device",
        fmt::format("{} layers have nowhere to go: name a device with --device", placement.layers));
  }
  for (const std::string& name : placement.devices) {
    if (name == kReferenceDevice) continue;
    QUERN_TRY(const kernels::VulkanDevice gpu, find_gpu(name));
    QUERN_CHECK(check_usable(gpu));
  }
  return {};
}

bool is_of_device(const Error& error) {
  constexpr std::string_view kCodes[] = {"device-memory", "device-lost", "vulkan", "vulkan-op",
                                         "no-vulkan"};
  return std::ranges::find(kCodes, error.code) != std::end(kCodes);
}

Result<std::string> leave_out_missing(Placement& placement) {
  const Status found = check_devices(placement);
  if (found) return std::string();
  if (placement.strict || !is_of_device(found.error())) return tl::unexpected(found.error());
  placement.devices.clear();
  placement.rules.clear();
  placement.layers = 0;
  return found.error().message + ": the CPU does its part";
}

Result<std::unique_ptr<kernels::Backend>> make_device(std::string_view name,
                                                      const std::string& cache_folder) {
  if (name == kReferenceDevice) return kernels::make_reference_backend();
  QUERN_TRY(const auto gpus, list_gpus(name));
  QUERN_TRY(const size_t index, gpu_index(name, gpus));
  return kernels::make_vulkan_backend(index, {.cache_folder = cache_folder});
}

}  // namespace quern::engine
