// DeviceProfile: what a plan knows of a device besides the CPU, on this machine or on another one.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "gguf/result.h"

namespace quern::engine {

inline constexpr std::string_view kReferenceDevice = "reference";

struct DeviceProfile {
  std::string name;             // as a placement names it: "vulkan:0", "reference"
  std::string description;      // what its maker calls it
  std::string driver = {};      // name and version; another one has other speeds
  bool in_host = false;         // its memory is the host's: software, or an integrated GPU
  uint64_t memory = 0;          // bytes of its memory; 0: no limit of its own is known
  uint64_t free = 0;            // of these, what a program may take now
  uint64_t max_allocation = 0;  // bytes that it allocates at once, at most; 0: not known
};

// Of a device of this machine, without opening it. Errors: "device-name", "no-vulkan".
Result<DeviceProfile> describe_device(std::string_view name);

}  // namespace quern::engine
