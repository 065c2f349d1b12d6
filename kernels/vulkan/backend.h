// The Vulkan backend over a device that is open already.
#pragma once

#include "kernels/backend.h"
#include "kernels/vulkan/device.h"

namespace quern::kernels::vulkan {

// Backends may share a device, one after the other or in turn; use_variants() changes it for all.
std::unique_ptr<Backend> make_backend(std::shared_ptr<Device> device);

}  // namespace quern::kernels::vulkan
