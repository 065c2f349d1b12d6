// The Vulkan backend over a device that is open already.
#pragma once

#include "kernels/backend.h"
#include "kernels/vulkan/device.h"

namespace quern::kernels::vulkan {

std::unique_ptr<Backend> make_backend(std::unique_ptr<Device> device);

}  // namespace quern::kernels::vulkan
