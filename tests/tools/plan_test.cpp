// `quern plan`, and what `quern run` does when memory is short.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "kernels/os_machine.h"
#include "kernels/vulkan.h"
#include "tests/json_schema.h"
#include "tests/run_program.h"
#include "tools/machine_file.h"
#include "tools/sizes.h"

namespace quern {
namespace {

using nlohmann::json;
using test::run_program;
using ::testing::HasSubstr;
using ::testing::Not;
using tools::parse_size;
using tools::size_text;

const std::string kModel = QUERN_SOURCE_DIR "/models/quern-tiny-stories-Q4_K_M.gguf";

// A machine that was never measured: 100 GB/s, 10 TOPS, and a GPU ten times as fast.
std::string profile(const test::TemporaryFolder& folder, uint64_t memory) {
  const auto speeds = [](double times) {
    return engine::DeviceSpeeds{{{gguf::Format::Q4_K, {times * 8e10, times * 5e12}}}, {1e-8, 1e-8}};
  };
  tools::Machine machine;
  machine.speeds.peaks = {"made up", 4, 5e10, 1e11, 1e13, 1e12};
  machine.speeds.cpu = speeds(1);
  machine.speeds.devices["vulkan:0"] = speeds(10);
  machine.memory = memory;
  machine.devices = {{.name = "vulkan:0",
                      .description = "made-up GPU",
                      .memory = uint64_t{8} << 30,
                      .free = uint64_t{7} << 30,
                      .max_allocation = uint64_t{1} << 30}};
  EXPECT_TRUE(write_machine(folder.file("machine.json"), machine));
  return folder.file("machine.json");
}

json plan(std::vector<std::string> more) {
  std::vector<std::string> arguments = {"plan", kModel, "--json", "--threads", "2"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  const auto result = run_program(arguments);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  return json::parse(result.out);
}

uint64_t term(const json& report, const std::string& name) {
  for (const json& term : report["heaps"][0]["terms"]) {
    if (term["name"] == name) return term["bytes"];
  }
  return 0;
}

TEST(Plan, jsonFollowsItsSchema) {
  const test::JsonSchema schema(QUERN_SOURCE_DIR "/docs/plan-schema.json");
  const test::TemporaryFolder folder;
  EXPECT_EQ(schema.violation(plan({"--no-speed"})), "");
  EXPECT_EQ(schema.violation(plan({"--no-speed", "--device", "reference"})), "");
  EXPECT_EQ(schema.violation(plan({"--profile", profile(folder, 0), "--ram", "15M"})), "");
}

// 6 layers, 2 heads of 64 values for keys and as many for values, f16.
TEST(Plan, givesTheTermsOfTheCache) {
  const json report = plan({"--no-speed", "--ctx", "320"});
  EXPECT_EQ(term(report, "key/value cache"), 6u * 2 * (64 + 64) * 2 * 320);
  const json& terms = report["cache_terms"][0];
  EXPECT_EQ(terms["layers"], 6);
  EXPECT_EQ(terms["positions"], 320);
  EXPECT_EQ(term(plan({"--no-speed", "--ctx", "320", "--parallel", "3"}), "key/value cache"),
            3 * term(report, "key/value cache"));
  const auto text = run_program({"plan", kModel, "--no-speed", "--ctx", "320"}).out;
  EXPECT_THAT(text, HasSubstr("6 layers x 2 heads x (64 + 64) values x 2 bytes x 320 positions"));
}

TEST(Plan, plansForAnotherMachine) {
  const test::TemporaryFolder folder;
  const std::string machine = profile(folder, 1 << 30);
  const json report = plan({"--profile", machine});
  EXPECT_EQ(report["budget"]["bytes"], 1 << 30);
  EXPECT_EQ(report["budget"]["source"], "said by the profile");
  EXPECT_GT(report["speed_empty_context"]["decode_tokens_per_s"], 1000);
  EXPECT_LT(report["speed_full_context"]["decode_tokens_per_s"],
            report["speed_empty_context"]["decode_tokens_per_s"]);
  EXPECT_EQ(
      json::parse(run_program({"plan", kModel, "--json", "--profile", machine}).out)["threads"], 4);
}

TEST(Plan, saysWhatItGivesUpToFit) {
  const uint64_t asked = plan({"--no-speed"})["heaps"][0]["peak_bytes"];
  const json report = plan({"--no-speed", "--ram", std::to_string(asked - 1)});
  EXPECT_TRUE(report["fits"]);
  EXPECT_EQ(report["cache"], "q8_0");
  ASSERT_EQ(report["changes"].size(), 1u);
  EXPECT_THAT(report["changes"][0], HasSubstr("q8_0 instead of f16"));
}

TEST(Plan, neverChangesWhatWasAskedFor) {
  const json report = plan({"--no-speed", "--ram", "12M", "--ctx", "512", "--kv", "f16"});
  EXPECT_FALSE(report["fits"]);
  EXPECT_EQ(report["cache"], "f16");
  EXPECT_EQ(report["context"], 512);
  EXPECT_TRUE(report["changes"].empty());
}

// The device that every machine has: layers 3 to 5 are there.
TEST(Plan, showsAHeapPerDeviceAndWhereTheLayersAre) {
  const json report = plan({"--no-speed", "--device", "reference", "--gpu-layers", "3"});
  ASSERT_EQ(report["heaps"].size(), 2u);
  EXPECT_EQ(report["heaps"][1]["name"], "reference");
  EXPECT_TRUE(report["heaps"][1]["in_host_memory"]);
  EXPECT_EQ(report["layers"][2]["heap"], "host");
  EXPECT_EQ(report["layers"][3]["heap"], "reference");
  // The reference keeps f32, whatever the cache's type.
  EXPECT_EQ(report["heaps"][1]["terms"][0]["bytes"], 3u * 2 * (64 + 64) * 4 * 512);
  EXPECT_EQ(term(report, "key/value cache"), 3u * 2 * (64 + 64) * 2 * 512);
  const auto text = run_program({"plan", kModel, "--no-speed", "--device", "reference",
                                 "--gpu-layers", "3", "--place", "blk.5.ffn=cpu"})
                        .out;
  EXPECT_THAT(text, HasSubstr("attention    [000111]"));
  EXPECT_THAT(text, HasSubstr("feed-forward [000110]"));
}

TEST(Plan, refusesDevicesThatAreNotThere) {
  for (const char* device : {"gpu", "vulkan:99", "vulkan:no such GPU"}) {
    const auto result = run_program({"plan", kModel, "--no-speed", "--device", device});
    EXPECT_EQ(result.exit_code, 2) << result.err;
    EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
  }
}

TEST(Plan, measuresThisMachineOnce) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "too slow under sanitizers";
#endif
  const test::TemporaryFolder folder;
  ASSERT_EQ(::setenv("XDG_CACHE_HOME", folder.file("cache").c_str(), 1), 0);
  const auto first = run_program({"plan", kModel, "--threads", "1"});
  const auto second = run_program({"plan", kModel, "--threads", "1"});
  ::unsetenv("XDG_CACHE_HOME");
  EXPECT_THAT(first.err, HasSubstr("measuring"));
  EXPECT_EQ(second.err, "");
  EXPECT_THAT(second.out, HasSubstr("empty context  decode"));
  EXPECT_TRUE(tools::read_machine(folder.file("cache/quern/machine-1.json")));
}

// Speeds of other kernels or of another processor are measured again.
TEST(Plan, measuresAgainWhatIsStale) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "too slow under sanitizers";
#endif
  const test::TemporaryFolder folder;
  std::filesystem::create_directories(folder.file("quern"));
  std::filesystem::copy_file(profile(folder, 0), folder.file("quern/machine-1.json"));
  ASSERT_EQ(::setenv("XDG_CACHE_HOME", folder.file(".").c_str(), 1), 0);
  const auto result = run_program({"plan", kModel, "--threads", "1"});
  ::unsetenv("XDG_CACHE_HOME");
  EXPECT_THAT(result.err, HasSubstr("measuring"));
  const auto renewed = tools::read_machine(folder.file("quern/machine-1.json"));
  ASSERT_TRUE(renewed);
  EXPECT_EQ(renewed->kernels, kernels::kernels_digest());
  EXPECT_EQ(renewed->speeds.peaks.threads, 1u);
}

// What was measured of a GPU with another driver is forgotten, and only that.
TEST(Plan, forgetsTheSpeedsOfAnotherDriver) {
  const auto device = engine::describe_device("vulkan:0");
  if (!device) GTEST_SKIP() << "no Vulkan device";
  const test::TemporaryFolder folder;
  std::filesystem::create_directories(folder.file("quern"));
  ASSERT_EQ(::setenv("XDG_CACHE_HOME", folder.file(".").c_str(), 1), 0);
  for (const bool same : {true, false}) {
    tools::Machine machine = *tools::read_machine(profile(folder, 0));
    machine.speeds.peaks.cpu = kernels::cpu_name();
    machine.speeds.peaks.threads = 1;
    machine.kernels = kernels::kernels_digest();
    machine.devices = {*device};
    if (!same) machine.devices[0].driver += " of last year";
    ASSERT_TRUE(write_machine(folder.file("quern/machine-1.json"), machine));
    const auto found = tools::this_machine({.threads = 1, .devices = {"vulkan:0"}});
    ASSERT_TRUE(found) << found.error().to_string();
    EXPECT_EQ(found->speeds.cpu.formats.size(), 1u);
    EXPECT_EQ(found->speeds.devices.at("vulkan:0").formats.size(), same ? 1u : 0u);
    EXPECT_EQ(found->devices[0].driver, device->driver);
  }
  ::unsetenv("XDG_CACHE_HOME");
}

// Layers on a GPU that is ten times as fast, which only the profile knows.
TEST(Plan, predictsTheSpeedOfASplitOnAnotherMachine) {
  const test::TemporaryFolder folder;
  const std::string machine = profile(folder, 1 << 30);
  const auto decode = [&](const std::string& layers) -> double {
    const json report =
        plan({"--profile", machine, "--device", "vulkan:0", "--gpu-layers", layers});
    return report["speed_empty_context"]["decode_tokens_per_s"];
  };
  if (!kernels::vulkan_bytes({}, {1, 1, 1})) GTEST_SKIP() << "built without Vulkan";
  const json report = plan({"--profile", machine, "--device", "vulkan:0"});
  EXPECT_EQ(test::JsonSchema(QUERN_SOURCE_DIR "/docs/plan-schema.json").violation(report), "");
  EXPECT_EQ(report["heaps"][1]["max_allocation_bytes"], 1 << 30);
  EXPECT_LT(decode("0"), decode("3"));
  EXPECT_LT(decode("3"), decode("all"));
  EXPECT_EQ(decode("auto"), decode("all"));
  const auto other = run_program({"plan", kModel, "--profile", machine, "--device", "vulkan:1"});
  EXPECT_EQ(other.exit_code, 2);
  EXPECT_THAT(other.err, HasSubstr("the profile has no device"));
}

TEST(Plan, ranksCommonShapes) {
  const auto result = run_program({"plan", "--what-fits", "--no-speed", "--ram", "8G"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, ::testing::ContainsRegex("llama-8b Q4_K_M +5\\.[0-9]+ GiB  yes"));
  EXPECT_THAT(result.out, ::testing::ContainsRegex("llama-70b Q4_K_M +[0-9.]+ GiB  no"));
  EXPECT_THAT(result.out, ::testing::ContainsRegex("qwen3-30b-a3b Q4_K_M +1[0-9.]+ GiB  no"));
  EXPECT_THAT(result.out, Not(HasSubstr("qwen3-30b-a3b-6"))) << "a few layers of it";
}

TEST(Plan, ranksWhatFitsBySpeed) {
  const test::TemporaryFolder folder;
  const auto result = run_program(
      {"plan", "--what-fits", "--profile", profile(folder, uint64_t{8} << 30), "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const json models = json::parse(result.out)["models"];
  EXPECT_GT(models.size(), 20u);
  for (size_t i = 1; i < models.size(); ++i) {
    const json &before = models[i - 1], &after = models[i];
    ASSERT_GE(before["fits"].get<bool>(), after["fits"].get<bool>()) << i;
    if (!after["fits"].get<bool>()) continue;
    EXPECT_GE(before["speed"]["decode_tokens_per_s"], after["speed"]["decode_tokens_per_s"]) << i;
  }
}

// Nothing of the 40 GB is written; the published sizes of its cache.
TEST(Plan, plansShapesWithoutAFile) {
  for (const auto& [context, text] : {std::pair("4096", "= 1.25 GiB"), {"131072", "= 40.0 GiB"}}) {
    const auto result =
        run_program({"plan", "synth:llama-70b:Q4_K_M", "--ctx", context, "--no-speed"});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.out, HasSubstr(text));
  }
}

// Memory that was seen to give 60 to 100 GB/s, and gives 80 now.
TEST(Plan, coversTheMemoryThatWasSeen) {
  const test::TemporaryFolder folder;
  tools::Machine machine = *tools::read_machine(profile(folder, 0));
  machine.speeds.cpu.formats.at(gguf::Format::Q4_K).read_bandwidth = 1e11;
  machine.speeds.reads = {1e11, 6e10, 8e10};
  ASSERT_TRUE(write_machine(folder.file("machine.json"), machine));
  const std::vector<std::string> command = {"plan", "synth:llama-1b:Q4_K_M", "--profile",
                                            folder.file("machine.json")};
  const auto text = run_program(command);
  EXPECT_THAT(text.out, HasSubstr("if memory gives 80.0 GB/s (60.0 to 100.0 in 3 looks)"));
  const json speed = plan({"--profile", folder.file("machine.json")})["speed_empty_context"];
  const double low = speed["decode_interval"][0], high = speed["decode_interval"][1];
  const double now = speed["decode_tokens_per_s"];
  EXPECT_LT(low, 0.8 * now);
  EXPECT_GT(high, 1.2 * now);
}

TEST(Plan, refusesWrongProfilesInOneLine) {
  const test::TemporaryFolder folder;
  for (const std::string text :
       {"", "[]", "{\"quern_machine\": 1}", "{\"quern_machine\": 3, \"threads\": 2}",
        "{\"quern_machine\": 3, \"threads\": \"two\"}"}) {
    const std::string path = folder.write("p.json", std::as_bytes(std::span(text)));
    const auto result = run_program({"plan", kModel, "--profile", path});
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
    EXPECT_THAT(result.err, HasSubstr("profile"));
  }
}

TEST(PlanRun, refusesWhatDoesNotFitAndNamesWhatWould) {
  const auto result = run_program({"run", kModel, "-p", "Hello!", "--ram", "29728K", "--ctx", "512",
                                   "--kv", "f32", "--threads", "2"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
  EXPECT_THAT(result.err, HasSubstr("--ctx 512 --kv q8_0 needs"));
}

TEST(PlanBench, refusesWhatDoesNotFitBeforeItMeasuresAnything) {
  const auto result = run_program({"bench", "synth:llama-70b:F16", "-p", "0", "-n", "1", "-d",
                                   "8000000", "--kv", "f32", "--threads", "2"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
  EXPECT_THAT(result.err, HasSubstr("--force tries it anyway"));
}

TEST(PlanRun, runsItAnywayWhenForced) {
  const auto result = run_program({"run", kModel, "-p", "Hello!", "-n", "2", "--temp", "0", "--ram",
                                   "1M", "--force", "--threads", "2"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "Hello!\n");
}

TEST(PlanRun, saysWhatItChangedToFit) {
  const auto result = run_program({"run", kModel, "-p", "Hello!", "-n", "2", "--temp", "0", "--ram",
                                   "29728K", "--threads", "2"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("key/value cache q8_0 instead of f16: as asked it would need"));
}

// Bytes of "… WORD 5.27 MiB + 349.6 KiB mapped …", the last one in a text: {anonymous, mapped}.
std::pair<double, double> sizes_after(const std::string& text, const std::string& word) {
  const auto at = [&](size_t begin) {
    const size_t end = text.find("iB", begin) + 2;
    return static_cast<double>(parse_size(text.substr(begin, end - begin)).value_or(0));
  };
  const size_t first = text.rfind(word) + word.size();
  return {at(first), at(text.find("+ ", first) + 2)};
}

// What is measured lies below the plan as far as it is used, and not far below.
TEST(PlanRun, comparesPlannedWithMeasured) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers have their own allocator";
#endif
  const auto result =
      run_program({"run", kModel, "-p", "Hello!", "-n", "2", "--stats", "--threads", "2"});
  EXPECT_THAT(result.err, ::testing::StartsWith("quern: loaded: memory planned "));
  const auto planned = sizes_after(result.err, "planned "),
             measured = sizes_after(result.err, "measured ");
  // The last size before a text, as in "(7.68 MiB as far as".
  const auto size_before = [&](const char* text) {
    const size_t end = result.err.rfind(text), begin = result.err.rfind(" (", end) + 2;
    return static_cast<double>(*parse_size(result.err.substr(begin, end - begin)));
  };
  const double used = size_before(" as far"), unpacked = size_before(" of it until");
  EXPECT_LE(measured.first, used) << result.err;
  EXPECT_GE(measured.first, used - (3 << 20)) << result.err;
  EXPECT_LE(used, planned.first) << result.err;
  EXPECT_LE(measured.second - unpacked, planned.second) << result.err;
  EXPECT_GE(measured.second, planned.second - (8 << 20)) << result.err;
  const size_t peak_at = result.err.rfind("; peak ") + 7, of_at = result.err.find(" of ", peak_at);
  const auto peak = static_cast<double>(*parse_size(result.err.substr(peak_at, of_at - peak_at)));
  EXPECT_GE(peak * 1.01, measured.first + measured.second) << result.err;
  EXPECT_LE(peak, planned.first + planned.second) << result.err;
}

// As under ulimit -v, from too little to start threads to enough: an answer, or one line.
TEST(PlanRun, endsInOneLineWhenAddressSpaceIsShort) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers need address space of their own";
#endif
  int answered = 0, refused = 0;
  for (uint64_t limit = 96 << 20; limit <= 800 << 20; limit += 44 << 20) {
    const auto result = run_program({"run", kModel, "-p", "Hello!", "-n", "2", "--ctx", "130000",
                                     "--temp", "0", "--threads", "8", "--force"},
                                    {}, {}, limit);
    answered += result.exit_code == 0;
    refused += result.exit_code == 1;
    // With an answer it may say that the weights stay in the mapped file.
    EXPECT_LE(std::ranges::count(result.err, '\n'), 1) << limit << result.err;
    EXPECT_TRUE(result.exit_code == 0 || !result.err.empty()) << limit;
  }
  EXPECT_GT(answered, 0);
  EXPECT_GT(refused, 5);
}

// Little of a limit is kept for others: a process has its address space for itself.
TEST(PlanRun, usesTheAddressSpaceThatThereIs) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers need address space of their own";
#endif
  const auto result =
      run_program({"run", kModel, "-p", "Hello!", "-n", "2", "--temp", "0", "--threads", "2"}, {},
                  {}, 480 << 20);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err, "");
}

// A driver without address space would crash; a device is refused before it is loaded. Where there
// is enough for the driver, what is left of it is the budget.
TEST(PlanRun, endsInOneLineWhenAddressSpaceIsShortForADevice) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers need address space of their own";
#endif
  if (!engine::describe_device("vulkan:0")) GTEST_SKIP() << "no Vulkan device";
  for (const uint64_t limit : {200, 600, 1000}) {
    const auto result = run_program({"run", kModel, "-p", "Hello!", "-n", "2", "--ctx", "64",
                                     "--temp", "0", "--threads", "2", "--device", "vulkan:0"},
                                    {}, {}, limit << 20);
    EXPECT_EQ(result.exit_code, 1) << limit << result.err;
    EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << limit << result.err;
    EXPECT_THAT(result.err, HasSubstr("address space")) << limit;
  }
}

TEST(Sizes, areReadAndWrittenInBinaryUnits) {
  EXPECT_EQ(parse_size("8G"), uint64_t{8} << 30);
  EXPECT_EQ(parse_size("7.5 GiB"), uint64_t{15} << 29);
  EXPECT_EQ(parse_size("500mb"), uint64_t{500} << 20);
  EXPECT_EQ(parse_size("12"), 12u);
  for (const char* wrong : {"", "G", "-1G", "0", "1X", "1GG", "nan", "1e30G", "inf"}) {
    EXPECT_EQ(parse_size(wrong), std::nullopt) << wrong;
  }
  EXPECT_EQ(size_text(1023), "1023 B");
  EXPECT_EQ(size_text(uint64_t{5} << 28), "1.25 GiB");
  EXPECT_EQ(size_text(100 << 20), "100.0 MiB");
}

}  // namespace
}  // namespace quern
