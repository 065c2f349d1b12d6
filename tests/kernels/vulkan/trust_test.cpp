// Devices are tested at their first use, and one that computes wrong is not used.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/device_trust.h"
#include "engine/devices.h"
#include "tests/golden_model.h"
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

TEST(DeviceTrust, theCpuDoesThePartOfADeviceThatComputesWrong) {
  const test::TemporaryFolder folder;
  const auto trust = device_trust(kDevice, test::vulkan_backend(),
                                  {.cache_folder = folder.file("cache"), .again = false});
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

}  // namespace
}  // namespace quern::engine
