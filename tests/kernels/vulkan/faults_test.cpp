// Out of memory at every call that can run out, and a device lost at every submission: an error
// with a sentence, and nothing left behind (the validation layer reports what is not destroyed).
#include "tests/kernels/vulkan/faults.h"

#include <gtest/gtest.h>

#include <functional>

#include "kernels/vulkan/device.h"
#include "kernels/vulkan/stopwatch.h"
#include "shaders/shared.h"
#include "tests/kernels/vulkan/test_device.h"

namespace quern::kernels::vulkan {
namespace {

using test::Fault;

// A device from its start to its end, with one dispatch.
Status use_a_device() {
  QUERN_TRY(const auto device,
            Device::create(test::vulkan_instance(), 0,
                           {.cache_folder = QUERN_VULKAN_CACHE, .patch = test::inject_faults}));
  QUERN_TRY(const auto stopwatch, Stopwatch::make(*device, 2));
  QUERN_TRY(Buffer memory, Buffer::make(*device, 256, Memory::kDevice));
  const std::vector<uint32_t> zeros(64);
  QUERN_CHECK(memory.upload(0, std::as_bytes(std::span(zeros))));
  QUERN_TRY(const Kernel* kernel, device->kernel("select_rows"));
  const uint64_t a = memory.address();
  return device->dispatch_and_wait(*kernel, shaders::SelectRowsPush{a, a, a + 128, 4, 0}, {});
}

// Runs `scenario` with its first, second, … fault until it no longer meets one; returns how many.
int count_faults(Fault fault, const std::string& code, const std::function<Status()>& scenario) {
  for (int calls = 0;; ++calls) {
    test::arm_fault(fault, calls);
    const Status status = scenario();
    const bool struck = test::fault_struck();
    test::arm_fault(Fault::kNone);
    if (!struck) {
      EXPECT_TRUE(status) << status.error().to_string();
      return calls;
    }
    EXPECT_EQ(status ? "no error" : status.error().code, code) << calls;
  }
}

TEST(VulkanFaults, everyFailingAllocationIsAnError) {
  EXPECT_GE(count_faults(Fault::kNoMemory, "device-memory", use_a_device), 10);
}

// It is the loader's function, not one of the device's.
TEST(VulkanFaults, aDeviceWithoutMemoryToStartIsAnError) {
  const auto create = vkCreateDevice;
  vkCreateDevice = [](VkPhysicalDevice, const VkDeviceCreateInfo*, const VkAllocationCallbacks*,
                      VkDevice*) -> VkResult { return VK_ERROR_OUT_OF_DEVICE_MEMORY; };
  const Status status = use_a_device();
  vkCreateDevice = create;
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, "device-memory");
  EXPECT_TRUE(use_a_device());
}

TEST(VulkanFaults, aLostDeviceIsAnError) {
  EXPECT_EQ(count_faults(Fault::kLost, "device-lost", use_a_device), 2);
}

}  // namespace
}  // namespace quern::kernels::vulkan
