// Kernel: one compute shader with its specialization constants, ready to be dispatched.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kernels/vulkan/api.h"

namespace quern::kernels::vulkan {

struct Kernel {
  std::string name;
  VkPipeline pipeline = VK_NULL_HANDLE;
  uint32_t push_bytes = 0;  // of its push constants, as the module declares them
  uint32_t width = 0;       // specialization constant 0: invocations per workgroup
};

struct Groups {
  uint32_t x = 1, y = 1, z = 1;
};

// What a SPIR-V module says of its push constants: the byte offset and size of each member.
struct PushMember {
  uint32_t offset, bytes;
};
std::vector<PushMember> push_members(std::span<const uint32_t> words);

// Bytes of the push constants; 0: there are none.
uint32_t push_bytes(std::span<const uint32_t> words);

}  // namespace quern::kernels::vulkan
