// `quern doctor` and what other commands do about a device that computes wrong. Here and not with
// the tools' tests because it needs a device.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "kernels/kernel_probe.h"
#include "kernels/os_machine.h"
#include "tests/run_program.h"

namespace quern {
namespace {

using nlohmann::json;
using test::run_program;
using ::testing::HasSubstr;

// Programs that are started keep what they find out in a folder, but not the code that Mesa's
// software driver compiled: that takes most of a self-test.
class CacheHome {
 public:
  explicit CacheHome(const test::TemporaryFolder& folder) {
    ::setenv("MESA_SHADER_CACHE_DIR", QUERN_VULKAN_CACHE, 0);
    ::setenv("XDG_CACHE_HOME", folder.file("").c_str(), 1);
  }
  ~CacheHome() { ::unsetenv("XDG_CACHE_HOME"); }
  CacheHome(const CacheHome&) = delete;
  CacheHome& operator=(const CacheHome&) = delete;
};

// Speeds of this machine as if they had been measured, which takes long under sanitizers; that they
// are is tested with `quern plan`.
void remember_speeds(const test::TemporaryFolder& folder) {
  const size_t threads = kernels::usable_processors().size();
  json formats;
  for (const char* name :
       {"q2_K", "q3_K", "q4_K", "q5_K", "q6_K", "q4_0", "q8_0", "iq4_nl", "iq4_xs", "mxfp4"}) {
    formats[name] = {
        {"decode_bytes", 3e10}, {"prefill_operations", 1e12}, {"read_bandwidth", 3.2e10}};
  }
  const json machine = {{"quern_machine", 3},
                        {"kernels", kernels::kernels_digest()},
                        {"cpu", kernels::cpu_name()},
                        {"threads", threads},
                        {"read_bandwidth_one", 2e10},
                        {"read_bandwidth_all", 4e10},
                        {"int8_peak", 2e12},
                        {"fp32_peak", 5e11},
                        {"memory", 0},
                        {"devices", json::array()},
                        {"speeds", {{"run", 1e-6}, {"operation", 1e-6}, {"formats", formats}}}};
  std::filesystem::create_directory(folder.file("quern"));
  std::ofstream(folder.file(fmt::format("quern/machine-{}.json", threads))) << machine;
}

TEST(Doctor, showsSpeedsTestsDevicesAndRemembers) {
  const test::TemporaryFolder folder;
  const CacheHome home(folder);
  remember_speeds(folder);
  const auto first = run_program({"doctor", "--json"});
  ASSERT_EQ(first.exit_code, 0) << first.err;
  EXPECT_EQ(first.err, "");  // nothing was measured
  const json report = json::parse(first.out);
  EXPECT_EQ(report["read_bandwidth_all"], 4e10);
  EXPECT_EQ(report["formats"].size(), 10u);
  EXPECT_EQ(report["formats"]["iq4_xs"]["decode_bytes"], 3e10);
  ASSERT_FALSE(report["devices"].empty());
  const json& device = report["devices"][0];
  EXPECT_EQ(device["error"], nullptr);
  EXPECT_EQ(device["faults"], json::array());
  EXPECT_GT(device["checks"], 75);
  EXPECT_EQ(device["remembered"], false);

  ASSERT_GE(device["variants"].size(), 1u);
  EXPECT_EQ(device["variants"].back()["name"], "fp32");
  EXPECT_GT(device["variants"].back()["prefill_operations"], 0);
  EXPECT_EQ(device["variants"].back()["faults"], json::array());

  const auto second = run_program({"doctor", "--device", "vulkan:0"});
  EXPECT_THAT(second.out, HasSubstr("fp32"));
  EXPECT_EQ(second.err, "");
  EXPECT_THAT(second.out, HasSubstr("tested earlier"));

  // As if the driver had been found to compute wrong.
  const std::string path =
      folder.file("quern/device-" + device["uuid"].get<std::string>() + ".json");
  json remembered = json::parse(std::ifstream(path));
  remembered["faults"] = json::array({json::array({"matmul_q4_k", "row 1 is wrong"})});
  std::ofstream(path) << remembered;
  const auto wrong = run_program({"doctor"});
  EXPECT_EQ(wrong.exit_code, 0) << wrong.err;
  EXPECT_THAT(wrong.out, HasSubstr("COMPUTES WRONG in 1 of"));
  EXPECT_THAT(wrong.out, HasSubstr("matmul_q4_k: row 1 is wrong"));
  EXPECT_EQ(run_program({"doctor", "--strict"}).exit_code, 1);

  const std::string model = QUERN_SOURCE_DIR "/models/quern-tiny-stories-Q4_K_M.gguf";
  const std::vector<std::string> run = {"run", model, "--raw",    "-p",       "Once upon a time",
                                        "-n",  "4",   "--device", "vulkan:0", "--gpu-layers",
                                        "2"};
  const auto answered = run_program(run);
  EXPECT_EQ(answered.exit_code, 0) << answered.err;
  EXPECT_NE(answered.out, "");
  EXPECT_THAT(answered.err, HasSubstr("the CPU does its part"));
  std::vector<std::string> strict = run;
  strict.push_back("--strict");
  const auto refused = run_program(strict);
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.err, HasSubstr("computes wrong here (matmul_q4_k: row 1 is wrong)"));
}

// The program in a place where no driver is found.
test::ProgramResult run_without_driver(const std::vector<std::string>& arguments) {
  for (const char* name : {"VK_DRIVER_FILES", "VK_ICD_FILENAMES"}) ::setenv(name, "/none.json", 1);
  auto result = run_program(arguments);
  for (const char* name : {"VK_DRIVER_FILES", "VK_ICD_FILENAMES"}) ::unsetenv(name);
  return result;
}

TEST(MissingDriver, leavesTheWorkToTheCpuUnlessStrict) {
  const test::TemporaryFolder folder;
  const CacheHome home(folder);
  const std::string model = QUERN_SOURCE_DIR "/models/quern-tiny-stories-Q4_K_M.gguf";
  for (std::vector<std::string> command :
       {std::vector<std::string>{"run", model, "--raw", "-p", "Once upon a time", "-n", "4"},
        {"bench", model, "--profile", "quick", "-p", "8", "-n", "2", "-r", "1", "--csv"},
        {"plan", model, "--no-speed"}}) {
    command.insert(command.end(), {"--device", "vulkan:0"});
    const auto answered = run_without_driver(command);
    EXPECT_EQ(answered.exit_code, 0) << answered.err;
    EXPECT_NE(answered.out, "");
    EXPECT_THAT(answered.out, Not(HasSubstr("vulkan")));
    EXPECT_THAT(answered.err, HasSubstr("no usable Vulkan GPU here"));
    EXPECT_THAT(answered.err, HasSubstr("the CPU does its part"));
    command.push_back("--strict");
    const auto refused = run_without_driver(command);
    EXPECT_EQ(refused.exit_code, 2);
    EXPECT_EQ(refused.out, "");
  }
}

TEST(SmallDevice, takesFewerLayersUnlessStrict) {
  const test::TemporaryFolder folder;
  const CacheHome home(folder);
  std::vector<std::string> plan = {
      "plan",       QUERN_SOURCE_DIR "/models/quern-tiny-stories-Q4_K_M.gguf",
      "--no-speed", "--device",
      "vulkan:0",   "--vram",
      "6M"};
  const auto fewer = run_program(plan);
  EXPECT_THAT(fewer.out, HasSubstr(" of 6 layers on devices"));
  plan[0] = "run";
  plan[2] = "--strict";
  const auto refused = run_program(plan, "Once");
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_EQ(refused.out, "");
  EXPECT_THAT(refused.err, HasSubstr("; --ctx 512 --kv f16 --gpu-layers "));
}

TEST(Doctor, refusesDevicesThatAreNotThere) {
  EXPECT_EQ(run_program({"doctor", "--device", "vulkan:no such"}).exit_code, 2);
  EXPECT_EQ(run_program({"doctor", "--device", "abacus"}).exit_code, 2);
}

}  // namespace
}  // namespace quern
