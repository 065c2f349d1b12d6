// `quern doctor` and what other commands do about a device that computes wrong. Here and not with
// the tools' tests because it needs a device.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/run_program.h"

namespace quern {
namespace {

using nlohmann::json;
using test::run_program;
using ::testing::HasSubstr;

TEST(Doctor, measuresTestsAndRemembers) {
  const test::TemporaryFolder folder;
  ::setenv("XDG_CACHE_HOME", folder.file("").c_str(), 1);
  const auto first = run_program({"doctor", "--json"});
  ASSERT_EQ(first.exit_code, 0) << first.err;
  EXPECT_THAT(first.err, HasSubstr("measuring this machine"));
  const json report = json::parse(first.out);
  EXPECT_GT(report["read_bandwidth_all"], 1e8);
  EXPECT_GT(report["int8_peak"], 1e9);
  for (const char* format : {"q2_K", "q4_K", "q6_K", "q8_0", "iq4_xs", "mxfp4"}) {
    EXPECT_GT(report["formats"][format]["decode_bytes"], 0) << format;
    EXPECT_GT(report["formats"][format]["prefill_operations"], 0) << format;
  }
  ASSERT_FALSE(report["devices"].empty());
  const json& device = report["devices"][0];
  EXPECT_EQ(device["error"], nullptr);
  EXPECT_EQ(device["faults"], json::array());
  EXPECT_GT(device["checks"], 75);
  EXPECT_EQ(device["remembered"], false);

  const auto second = run_program({"doctor", "--device", "vulkan:0"});
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

TEST(Doctor, refusesDevicesThatAreNotThere) {
  EXPECT_EQ(run_program({"doctor", "--device", "vulkan:no such"}).exit_code, 2);
  EXPECT_EQ(run_program({"doctor", "--device", "abacus"}).exit_code, 2);
}

}  // namespace
}  // namespace quern
