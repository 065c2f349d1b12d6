// The device layer: memory, kernels, dispatches.
#include "kernels/vulkan/device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "kernels/vulkan/weights.h"
#include "shaders/modules.h"
#include "shaders/shared.h"
#include "tests/kernels/vulkan/test_device.h"

namespace quern::kernels::vulkan {
namespace {

using ::testing::ElementsAre;

TEST(VulkanDevice, namesItselfAndItsDriver) {
  const DeviceCaps& caps = test::vulkan_device().caps();
  EXPECT_FALSE(caps.name.empty());
  EXPECT_FALSE(caps.driver.empty());
  EXPECT_EQ(caps.uuid.size(), 32u);
  EXPECT_EQ(caps.unusable, "");
  EXPECT_GE(caps.subgroup_size, 4u);
  EXPECT_GT(test::vulkan_device().free_bytes(), 0u);
}

TEST(VulkanDevice, buffersKeepWhatIsUploaded) {
  std::vector<uint32_t> values(1000);
  std::iota(values.begin(), values.end(), 7);
  Buffer buffer = test::vulkan_buffer(values);
  EXPECT_NE(buffer.address(), 0u);
  EXPECT_EQ(test::vulkan_values<uint32_t>(buffer, values.size()), values);
  const uint32_t changed = 3;
  ASSERT_TRUE(buffer.upload(4 * sizeof changed, std::as_bytes(std::span(&changed, 1))));
  values[4] = changed;
  EXPECT_EQ(test::vulkan_values<uint32_t>(buffer, values.size()), values);
}

TEST(VulkanDevice, runsAKernel) {
  Device& device = test::vulkan_device();
  const Buffer in = test::vulkan_buffer<float>({0, 1, 2, 10, 11, 12, 20, 21, 22});
  const Buffer indices = test::vulkan_buffer<uint32_t>({2, 0});
  const Buffer out = test::vulkan_buffer<float>(std::vector<float>(6, -1));
  const auto kernel = device.kernel("select_rows");
  ASSERT_TRUE(kernel) << kernel.error().to_string();
  const shaders::SelectRowsPush push = {in.address(), indices.address(), out.address(), 3, 0};
  const Status status = device.dispatch_and_wait(**kernel, push, {.x = 1, .y = 2});
  ASSERT_TRUE(status) << status.error().to_string();
  EXPECT_THAT(test::vulkan_values<float>(out, 6), ElementsAre(20, 21, 22, 0, 1, 2));
}

TEST(VulkanDevice, keepsAKernelOncePerSetOfConstants) {
  Device& device = test::vulkan_device();
  const Kernel* kernel = *device.kernel("select_rows", 32);
  EXPECT_EQ(*device.kernel("select_rows", 32), kernel);
  EXPECT_NE(*device.kernel("select_rows", 64), kernel);
}

TEST(VulkanDevice, refusesAnUnknownKernel) {
  EXPECT_EQ(test::vulkan_device().kernel("no_such_shader").error().code, "no-kernel");
}

TEST(VulkanDevice, refusesADeviceThatIsNotThere) {
  EXPECT_EQ(Device::create(test::vulkan_instance(), 99).error().code, "no-vulkan");
}

// C++ packs the push structures without gaps (their sizes are asserted); so must every module.
TEST(VulkanShaders, pushConstantsLieWithoutGaps) {
  for (const shaders::Module& module : shaders::modules()) {
    uint32_t end = 0;
    for (const PushMember& member : push_members(module.words)) {
      EXPECT_EQ(member.offset, end) << module.name;
      end = member.offset + member.bytes;
    }
    EXPECT_GT(end, 0u) << module.name;
    EXPECT_LE(end, shaders::kMaxPushBytes) << module.name;
  }
}

// A user may stop while one large tensor is on its way.
TEST(VulkanWeights, areUploadedInPartsBetweenWhichLoadingCanEnd) {
  Program program;
  const WeightInfo info = {"weight", gguf::Format::F32, {4096, 8192, 1, 1}};  // 128 MiB
  program.weights = {info};
  const std::vector<std::byte> bytes(info.bytes());
  const gguf::TensorView view = {"weight", info.format, info.shape, 2, bytes};
  std::vector<size_t> told;  // bytes
  const auto upload = [&](size_t calls) {
    told.clear();
    return Weights::upload(test::vulkan_device(), program, {&view, 1}, [&](WeightId, size_t count) {
      told.push_back(count);
      return told.size() < calls;
    });
  };
  const auto stopped = upload(1);
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, "cancelled");
  EXPECT_EQ(told, std::vector<size_t>{bytes.size() / 2});
  EXPECT_TRUE(upload(3));
  EXPECT_EQ(told, (std::vector<size_t>{bytes.size() / 2, bytes.size()}));
}

}  // namespace
}  // namespace quern::kernels::vulkan
