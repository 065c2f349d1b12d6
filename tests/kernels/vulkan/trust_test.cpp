// Devices are tested at their first use, and one that computes wrong is not used.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <tuple>

#include "engine/device_trust.h"
#include "engine/devices.h"
#include "kernels/os_machine.h"
#include "kernels/vulkan/backend.h"
#include "shaders/modules.h"
#include "tests/golden_model.h"
#include "tests/kernels/vulkan/faults.h"
#include "tests/kernels/vulkan/test_device.h"
#include "tests/temporary_folder.h"

namespace quern::engine {
namespace {

constexpr const char* kDevice = "vulkan:0";

std::string remembered_in(const test::TemporaryFolder& folder) {
  return folder.file("cache/device-" + find_gpu(kDevice)->uuid + ".json");
}

// As if a driver had once computed this wrong.
void remember_a_fault(const std::string& path) {
  std::ifstream in(path);
  nlohmann::json json = nlohmann::json::parse(in);
  in.close();
  json["faults"] =
      nlohmann::json::array({nlohmann::json::array({"matvec_q4_k", "row 1 is wrong"})});
  std::ofstream(path) << json;
}

TEST(DeviceTrust, isTestedOnceAndRemembered) {
  const test::TemporaryFolder folder;
  const TrustOptions options{.cache_folder = folder.file("cache"), .again = false};
  std::filesystem::create_directory(folder.file("cache"));
  std::ofstream(remembered_in(folder)) << "{\"driver\": 1, damaged";
  const auto first = device_trust(kDevice, test::vulkan_backend(), options);
  ASSERT_TRUE(first) << first.error().to_string();
  EXPECT_FALSE(first->remembered);
  EXPECT_TRUE(first->faults.empty()) << first->summary();
  EXPECT_GT(first->checks, 75u);  // three for each format

  const auto second = device_trust(kDevice, test::vulkan_backend(), options);
  ASSERT_TRUE(second);
  EXPECT_TRUE(second->remembered);
  EXPECT_EQ(second->checks, first->checks);

  remember_a_fault(remembered_in(folder));
  const auto third = device_trust(kDevice, test::vulkan_backend(), options);
  ASSERT_TRUE(third);
  EXPECT_EQ(third->summary(), "matvec_q4_k: row 1 is wrong");

  // What another driver was found to do says nothing of this one.
  nlohmann::json json = nlohmann::json::parse(std::ifstream(remembered_in(folder)));
  json["driver"] = "another";
  std::ofstream(remembered_in(folder)) << json;
  bool tested = false;
  ASSERT_TRUE(device_trust(kDevice, test::vulkan_backend(),
                           {.cache_folder = folder.file("cache"),
                            .again = false,
                            .progress = [&](double) { tested = true; }}));
  EXPECT_TRUE(tested);
}

TEST(DeviceTrust, testsAFormatWhenAModelHasIt) {
  using enum gguf::Format;
  const test::TemporaryFolder folder;
  TrustOptions options{.cache_folder = folder.file("cache"), .formats = {Q4_K, F32}};
  const auto first = device_trust(kDevice, test::vulkan_backend(), options);
  ASSERT_TRUE(first) << first.error().to_string();
  EXPECT_EQ(first->formats, std::vector{Q4_K});
  EXPECT_TRUE(device_trust(kDevice, test::vulkan_backend(), options)->remembered);
  remember_a_fault(remembered_in(folder));
  options.formats = {Q6_K, Q4_K};
  const auto second = device_trust(kDevice, test::vulkan_backend(), options);
  EXPECT_FALSE(second->remembered);
  EXPECT_EQ(second->formats, (std::vector{Q4_K, Q6_K}));
  EXPECT_EQ(second->checks, first->checks + 3);  // no model again
  EXPECT_EQ(second->faults.size(), 1u);
  EXPECT_EQ(second->variants.size(), 1u);
  EXPECT_TRUE(device_trust(kDevice, test::vulkan_backend(), options)->remembered);
}

// Other devices of the kind do a part of the test; what one that fails leaves undone is done all
// the same.
TEST(DeviceTrust, isTestedBySeveralThreads) {
  TrustOptions options{
      .cache_folder = "", .again = true, .formats = {gguf::Format::Q4_K, gguf::Format::Q6_K}};
  const auto alone = device_trust(kDevice, test::vulkan_backend(), options);
  ASSERT_TRUE(alone) << alone.error().to_string();
  const size_t helpers = std::min<size_t>(kernels::usable_processors().size(), 8) - 1;
  for (const test::Fault fault : {test::Fault::kNone, test::Fault::kLost}) {
    std::atomic<size_t> opened = 0;
    options.another = [&]() -> Result<std::unique_ptr<kernels::Backend>> {
      ++opened;
      QUERN_TRY(auto device, kernels::vulkan::Device::create(
                                 test::vulkan_instance(), 0,
                                 {.cache_folder = "", .patch = test::inject_faults}));
      return kernels::vulkan::make_backend(std::move(device));
    };
    test::arm_fault(fault);
    const auto together = device_trust(kDevice, test::vulkan_backend(), options);
    test::arm_fault(test::Fault::kNone);
    ASSERT_TRUE(together) << together.error().to_string();
    EXPECT_EQ(opened, helpers);
    EXPECT_TRUE(together->faults.empty()) << together->summary();
    EXPECT_EQ(together->checks, alone->checks);
  }
}

// What a device that fails has computed says nothing of what it computes.
TEST(DeviceTrust, remembersNothingOfADeviceThatFailsMeanwhile) {
  const auto device = kernels::vulkan::make_backend(std::move(*kernels::vulkan::Device::create(
      test::vulkan_instance(), 0,
      {.cache_folder = QUERN_VULKAN_CACHE, .patch = test::inject_faults})));
  for (const auto& [fault, calls, code] : {std::tuple{test::Fault::kLost, 30, "device-lost"},
                                           {test::Fault::kLost, 3, "device-lost"},
                                           {test::Fault::kNoMemory, 100, "device-memory"}}) {
    const test::TemporaryFolder folder;
    test::arm_fault(fault, calls);
    const auto trust = device_trust(
        kDevice, *device, {.cache_folder = folder.file("cache"), .formats = {gguf::Format::Q4_K}});
    test::arm_fault(test::Fault::kNone);
    ASSERT_FALSE(trust);
    EXPECT_EQ(trust.error().code, code);
    EXPECT_FALSE(std::filesystem::exists(remembered_in(folder)));
  }
}

TEST(DeviceTrust, theCpuDoesThePartOfADeviceThatComputesWrong) {
  const test::TemporaryFolder folder;
  const auto trust =
      device_trust(kDevice, test::vulkan_backend(),
                   {.cache_folder = folder.file("cache"), .formats = {gguf::Format::Q4_K}});
  ASSERT_TRUE(trust);
  remember_a_fault(remembered_in(folder));
  const test::GoldenModel golden = test::golden_model("models/llama");
  EngineOptions options{.threads = 1, .context = 64, .batch_rows = 48, .logit_rows = 48};
  options.placement = {.devices = {kDevice}, .rules = {}, .cache_folder = folder.file("cache")};
  {
    const auto engine = test::load_engine(golden.path, options);
    ASSERT_EQ(engine->model().warnings.size(), 1u);
    EXPECT_EQ(
        engine->model().warnings[0],
        "\"vulkan:0\" computes wrong here (matvec_q4_k: row 1 is wrong): the CPU does its part");
    options.placement = {};
    const auto cpu = test::load_engine(golden.path, options);
    Sequence own = engine->new_sequence(), other = cpu->new_sequence();
    EXPECT_EQ(test::run(*engine, own, golden.tokens, 48),
              test::run(*cpu, other, golden.tokens, 48));
  }
  options.placement = {
      .devices = {kDevice}, .rules = {}, .cache_folder = folder.file("cache"), .strict = true};
  const auto refused = Engine::load(*gguf::File::open(golden.path), options);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, "device-wrong");
}

// A driver whose compiler takes one shader of the first variant for another.
PFN_vkCreateShaderModule g_create_module = nullptr;

VKAPI_ATTR VkResult VKAPI_CALL create_wrong_module(VkDevice device,
                                                   const VkShaderModuleCreateInfo* info,
                                                   const VkAllocationCallbacks* allocator,
                                                   VkShaderModule* module) {
  VkShaderModuleCreateInfo changed = *info;
  if (info->pCode == shaders::find_module("matmul_q5_0_int8")->words.data()) {
    const std::span<const uint32_t> other = shaders::find_module("matmul_q4_0_int8")->words;
    changed.pCode = other.data();
    changed.codeSize = other.size_bytes();
  }
  return g_create_module(device, &changed, allocator, module);
}

std::unique_ptr<kernels::Backend> device_with_a_wrong_variant() {
  const auto patch = [](kernels::vulkan::Api& api) {
    g_create_module = api.vkCreateShaderModule;
    api.vkCreateShaderModule = create_wrong_module;
  };
  auto device = kernels::vulkan::Device::create(
      test::vulkan_instance(), 0, {.cache_folder = QUERN_VULKAN_CACHE, .patch = patch});
  EXPECT_TRUE(device) << device.error().to_string();
  return kernels::vulkan::make_backend(std::move(*device));
}

TEST(DeviceTrust, aVariantThatComputesWrongGivesWayToTheNext) {
  const test::TemporaryFolder folder;
  const TrustOptions options{.cache_folder = folder.file("cache"),
                             .formats = {gguf::Format::Q5_0, gguf::Format::Q4_K},
                             .software_variants = true};
  const auto wrong = device_with_a_wrong_variant();
  if (wrong->variants().size() < 3) GTEST_SKIP() << "the device has no variant to break";
  const auto trust = device_trust(kDevice, *wrong, options);
  ASSERT_TRUE(trust) << trust.error().to_string();
  EXPECT_TRUE(trust->faults.empty()) << trust->summary();
  ASSERT_EQ(trust->variants.size(), 3u);
  // Its products of many rows, and the model that has such a matrix.
  EXPECT_THAT(summary(trust->variants[0].faults),
              testing::StartsWith("q5_0: vulkan: products of many rows are close"));
  EXPECT_EQ(trust->variants[0].faults.size(), 2u) << summary(trust->variants[0].faults);
  EXPECT_EQ(trust->variants[0].rates.prefill_operations, 0);
  EXPECT_TRUE(trust->variants[1].faults.empty()) << summary(trust->variants[1].faults);
  EXPECT_GT(trust->variants[1].rates.prefill_operations, 0);
  EXPECT_GT(trust->variants[2].rates.decode_bytes, 0);

  // It is remembered for the engine.
  const test::GoldenModel golden = test::golden_model("models/llama");
  EngineOptions load{.threads = 1, .context = 64, .batch_rows = 48, .logit_rows = 48};
  load.placement = {
      .devices = {kDevice}, .rules = {}, .cache_folder = folder.file("cache"), .variant = "int8"};
  const auto engine = test::load_engine(golden.path, load);
  ASSERT_EQ(engine->model().warnings.size(), 1u);
  EXPECT_THAT(engine->model().warnings[0],
              testing::AllOf(testing::StartsWith(
                                 "\"vulkan:0\" computes products with int8 wrong here (q5_0: "),
                             testing::EndsWith("): it computes them with fp16")));
  load.placement.strict = true;
  const auto refused = Engine::load(*gguf::File::open(golden.path), load);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, "device-wrong");
  load.placement.variant = "fp16";
  EXPECT_TRUE(test::load_engine(golden.path, load)->model().warnings.empty());
  load.placement.variant = "int9";
  const auto unknown = Engine::load(*gguf::File::open(golden.path), load);
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, "variant-name");
}

DeviceTrust measured(double int8_decode, double int8_prefill) {
  return {.faults = {},
          .variants = {{"int8", {}, {int8_decode, int8_prefill}},
                       {"fp16", {}, {3, 30}},
                       {"fp32", {}, {4, 20}}},
          .formats = {}};
}

TEST(DeviceTrust, choosesTheFastestVariantsThatComputeRight) {
  DeviceTrust trust = measured(2, 50);
  EXPECT_EQ(trust.fastest().few, "fp32");
  EXPECT_EQ(trust.fastest().many, "int8");
  trust.variants[0].faults.push_back({"q4_K", "wrong"});
  EXPECT_EQ(trust.fastest().many, "fp16");
  EXPECT_EQ(trust.asked("int8")->many, "fp16");
  trust.variants[1].faults.push_back({"q4_K", "wrong"});
  EXPECT_EQ(trust.fastest().many, "fp32");
  EXPECT_EQ(trust.asked("int8")->few, "fp32");
  // A driver on the CPU gains nothing.
  trust = measured(9, 90);
  trust.software = true;
  EXPECT_EQ(trust.fastest().few, "fp32");
  EXPECT_EQ(trust.fastest().many, "fp32");
  EXPECT_EQ(trust.asked("int8")->many, "int8");
}

}  // namespace
}  // namespace quern::engine
