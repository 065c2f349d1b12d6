// A GPU whose driver is older than Vulkan 1.2 is listed with the reason, and leaves its part to the
// CPU.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string_view>

#include "kernels/vulkan/backend.h"
#include "tests/golden_model.h"
#include "tests/kernels/vulkan/test_device.h"

namespace quern::engine {
namespace {

using kernels::vulkan::Instance;

PFN_vkGetInstanceProcAddr g_find = nullptr;
PFN_vkGetPhysicalDeviceProperties g_properties = nullptr;

VKAPI_ATTR void VKAPI_CALL old_properties(VkPhysicalDevice device, VkPhysicalDeviceProperties* to) {
  g_properties(device, to);
  to->apiVersion = VK_MAKE_API_VERSION(0, 1, 1, 42);
}

VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL find_old(VkInstance instance, const char* name) {
  const PFN_vkVoidFunction found = g_find(instance, name);
  if (name != std::string_view("vkGetPhysicalDeviceProperties")) return found;
  g_properties = reinterpret_cast<PFN_vkGetPhysicalDeviceProperties>(found);
  return reinterpret_cast<PFN_vkVoidFunction>(old_properties);
}

// Of a machine whose drivers say that they know Vulkan 1.1. The instance of the other tests, and
// its functions, stay what they were.
std::shared_ptr<Instance> old_instance() {
  const VkInstance others = volkGetLoadedInstance();
  g_find = vkGetInstanceProcAddr;
  vkGetInstanceProcAddr = find_old;
  auto instance = Instance::create();
  vkGetInstanceProcAddr = g_find;
  volkLoadInstanceOnly(others);
  EXPECT_TRUE(instance) << instance.error().to_string();
  return std::move(*instance);
}

TEST(OldDriver, leavesItsPartToTheCpuUnlessStrict) {
  test::vulkan_instance();
  const auto instance = old_instance();
  ASSERT_GT(instance->device_count(), 0u);
  EXPECT_EQ(instance->caps(0).unusable, "its driver is older than Vulkan 1.2");

  const test::GoldenModel golden = test::golden_model("models/llama");
  EngineOptions options{.threads = 1, .context = 64, .batch_rows = 48, .logit_rows = 48};
  options.open_device = [&](const std::string&) -> Result<std::unique_ptr<kernels::Backend>> {
    QUERN_TRY(auto device, kernels::vulkan::Device::create(instance, 0));
    return kernels::vulkan::make_backend(std::move(device));
  };
  options.placement = {.devices = {"vulkan:0"}, .rules = {}};
  const auto engine = test::load_engine(golden.path, options);
  ASSERT_EQ(engine->model().warnings.size(), 1u);
  EXPECT_THAT(engine->model().warnings[0],
              testing::EndsWith(
                  " cannot be used: its driver is older than Vulkan 1.2: the CPU does its part"));
  Sequence sequence = engine->new_sequence();
  EXPECT_FALSE(test::run(*engine, sequence, golden.tokens, 48).empty());

  options.placement.strict = true;
  const auto refused = Engine::load(*gguf::File::open(golden.path), options);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, "no-vulkan");
}

}  // namespace
}  // namespace quern::engine
