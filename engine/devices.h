// Devices: the backends that a placement names.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "engine/placement.h"
#include "kernels/backend.h"
#include "kernels/vulkan.h"

namespace quern::engine {

// Bytes of address space that drivers of GPUs map for themselves, at most, as far as has been seen:
// a software driver has a thread on every processor, with a stack and a heap of its own.
uint64_t driver_address_space();

// Whether all devices of the placement are there, without opening them; quick. Errors:
// "device-name", "place-device" (layers are to move and no device is named), "no-vulkan" (no GPU,
// no driver, or one that lacks what Quern needs), those of kernels::list_vulkan_devices,
// "address-space" (ulimit -v leaves too little of it for a driver).
Status check_devices(const Placement& placement);

// Whether a device failed, so that the CPU can do its part.
bool is_of_device(const Error& error);

// Leaves everything to the CPU where a device of the placement is missing because the machine has
// no GPU, or no driver that Quern can use, and says so in one sentence; empty: all are there. With
// Placement::strict that is an error. Errors: those of check_devices.
Result<std::string> leave_out_missing(Placement& placement);

// The device of "vulkan:NAME". Errors: "device-name", "no-vulkan".
Result<kernels::VulkanDevice> find_gpu(std::string_view name);

// "reference", or "vulkan:" and what kernels::find_vulkan_device understands. `cache_folder`: see
// Placement. Errors: "device-name" and those of kernels::make_vulkan_backend.
Result<std::unique_ptr<kernels::Backend>> make_device(std::string_view name,
                                                      const std::string& cache_folder);

}  // namespace quern::engine
