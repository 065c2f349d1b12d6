// The one place that includes Vulkan: volk loads every function at run time, so that a machine
// without a Vulkan loader runs the same program.
#pragma once

#define VK_NO_PROTOTYPES
#include <volk.h>

#include <string_view>

#include "gguf/result.h"

namespace quern::kernels::vulkan {

// All functions of a device. Tests replace members to inject faults.
using Api = VolkDeviceTable;

// What a call returned, as a Status; `what` completes "the GPU could not …". Errors:
// "device-memory", "out-of-memory", "device-lost", "vulkan".
Status check(VkResult result, std::string_view what);

}  // namespace quern::kernels::vulkan
