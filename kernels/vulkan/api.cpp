// Holds the only copy of volk, which loads the driver at run time.
#define VOLK_IMPLEMENTATION
#include "kernels/vulkan/api.h"

#include <fmt/format.h>

namespace quern::kernels::vulkan {

Status check(VkResult result, std::string_view what) {
  switch (result) {
    case VK_SUCCESS:
    case VK_INCOMPLETE:
      return {};
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
      return fail(ErrorKind::kFailure, "device-memory",
                  fmt::format("the GPU has not enough free memory to {}", what));
    case VK_ERROR_OUT_OF_HOST_MEMORY:
      return fail(ErrorKind::kFailure, "out-of-memory",
                  fmt::format("there is not enough memory for the GPU driver to {}", what));
    case VK_ERROR_DEVICE_LOST:
      return fail(ErrorKind::kFailure, "device-lost",
                  fmt::format("the GPU stopped answering when asked to {}", what));
    default:
      return fail(
          ErrorKind::kFailure, "vulkan",
          fmt::format("the GPU could not {} (Vulkan error {})", what, static_cast<int>(result)));
  }
}

}  // namespace quern::kernels::vulkan
