#include "tests/kernels/vulkan/test_device.h"

#include <cstdio>
#include <cstdlib>

#include "engine/devices.h"
#include "kernels/vulkan/backend.h"
#include "tests/golden_model.h"

namespace quern::test {
namespace {

using kernels::vulkan::Device;
using kernels::vulkan::Instance;

std::shared_ptr<Instance> g_instance;
std::shared_ptr<Device> g_device;
std::unique_ptr<kernels::Backend> g_backend;

[[noreturn]] void give_up(const Error& error) {
  std::fprintf(stderr, "no Vulkan device to test with: %s\n", error.to_string().c_str());
  std::exit(1);
}

std::shared_ptr<Device> shared_device() {
  if (!g_device) {
    auto device = Device::create(vulkan_instance(), 0, {.cache_folder = QUERN_VULKAN_CACHE});
    if (!device) give_up(device.error());
    g_device = std::move(*device);
  }
  return g_device;
}

// Ends the devices before static objects go, and fails the run if the validation layer complained.
class Environment final : public ::testing::Environment {
 public:
  void SetUp() override {
    vulkan_instance();  // before anybody makes one without validation
    open_device = open_shared_device;
  }
  void TearDown() override {
    g_backend.reset();
    g_device.reset();
    if (!g_instance) return;
    for (const std::string& message : g_instance->messages()) ADD_FAILURE() << message;
  }
};

}  // namespace

std::shared_ptr<Instance> vulkan_instance() {
  if (!g_instance) {
    auto instance = Instance::shared(/*validation=*/true);
    if (!instance) give_up(instance.error());
    g_instance = std::move(*instance);
  }
  return g_instance;
}

Device& vulkan_device() { return *shared_device(); }

kernels::Backend& vulkan_backend() {
  if (!g_backend) g_backend = kernels::vulkan::make_backend(shared_device());
  return *g_backend;
}

Result<std::unique_ptr<kernels::Backend>> open_shared_device(const std::string& name) {
  if (name != "vulkan:0") return engine::make_device(name, "");
  vulkan_device().use_variants(kernels::vulkan::exact_variant(), kernels::vulkan::exact_variant());
  return kernels::vulkan::make_backend(shared_device());
}

}  // namespace quern::test

// The validation layer keeps memory of every device that ends. Nothing else is forgiven: without
// the layer the tests leak nothing.
extern "C" const char* __lsan_default_suppressions() {
  return "leak:libVkLayer_khronos_validation.so\n";
}

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  ::testing::AddGlobalTestEnvironment(new quern::test::Environment);
  return RUN_ALL_TESTS();
}
