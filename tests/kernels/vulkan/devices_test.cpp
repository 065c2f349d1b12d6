// Which device a user means.
#include <gtest/gtest.h>

#include "kernels/vulkan.h"

namespace quern::kernels {
namespace {

std::vector<VulkanDevice> two_devices() {
  VulkanDevice big, small;
  big.name = "Big GPU 9000", big.uuid = "00112233445566778899aabbccddeeff";
  small.name = "Small GPU 2", small.uuid = "ffeeddccbbaa99887766554433221100";
  return {big, small};
}

TEST(VulkanDevices, areFoundByIndexNameOrUuid) {
  const auto devices = two_devices();
  EXPECT_EQ(find_vulkan_device(devices, "1"), 1u);
  EXPECT_EQ(find_vulkan_device(devices, "small"), 1u);
  EXPECT_EQ(find_vulkan_device(devices, "GPU"), 0u);
  EXPECT_EQ(find_vulkan_device(devices, "FFEEDDCCBBAA99887766554433221100"), 1u);
  EXPECT_EQ(find_vulkan_device(devices, "2"), 1u) << "a number beyond the last is part of a name";
}

TEST(VulkanDevices, refusesWhatIsNotThereAndSaysWhatIs) {
  for (const char* name : {"7", "", "medium", "0011", "-1"}) {
    const auto found = find_vulkan_device(two_devices(), name);
    ASSERT_FALSE(found) << name;
    EXPECT_EQ(found.error().code, "device-name");
    EXPECT_NE(found.error().message.find("Big GPU 9000"), std::string::npos);
  }
  EXPECT_NE(find_vulkan_device({}, "0").error().message.find("none"), std::string::npos);
}

TEST(VulkanDevices, listsTheOneThatTheTestsRunOn) {
  const auto devices = list_vulkan_devices();
  ASSERT_TRUE(devices) << devices.error().to_string();
  ASSERT_FALSE(devices->empty());
  EXPECT_EQ(devices->front().unusable, "");
  EXPECT_GT(devices->front().memory, 0u);
}

}  // namespace
}  // namespace quern::kernels
