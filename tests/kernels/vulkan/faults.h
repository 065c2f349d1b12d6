// Faults injected into a device's functions: one allocation that fails, or a device that is lost at
// some submission and stays lost.
#pragma once

#include "kernels/vulkan/api.h"

namespace quern::test {

enum class Fault { kNone, kNoMemory, kLost };

// For kernels::vulkan::DeviceOptions::patch.
void inject_faults(kernels::vulkan::Api& api);

// The next fault comes after `calls` more calls that can fail in this way.
void arm_fault(Fault fault, int calls = 0);
// Whether it came.
bool fault_struck();

}  // namespace quern::test
