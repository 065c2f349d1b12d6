// What is said about a report, and that nothing is said about a good one.
#include "bench/judge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bench/build_info.h"
#include "bench/conditions.h"
#include "tests/bench/sample_report.h"

namespace quern::bench {
namespace {

using test::Json;
using ::testing::Contains;
using ::testing::HasSubstr;

// Codes of the warnings about a report in which `change` was made; a debug build's own is left out.
template <typename Change>
std::vector<std::string> codes(Change change) {
  Json report = test::sample_report();
  change(report);
  judge(report);
  std::vector<std::string> found;
  for (const Json& warning : report["warnings"]) {
    if (warning["code"] != "not-release") found.push_back(warning["code"]);
  }
  EXPECT_EQ(report["publishable"].get<bool>(), found.empty() && is_release_build());
  return found;
}

template <typename Change>
std::vector<std::string> codes_of_result(Change change) {
  return codes([&](Json& report) { change(report["results"][1]); });
}

TEST(Judge, saysNothingAboutAGoodRun) {
  EXPECT_TRUE(codes([](Json&) {}).empty());
  EXPECT_EQ(test::sample_report()["publishable"].get<bool>(), is_release_build());
}

TEST(Judge, namesABusyNeighbour) {
  Json report = test::sample_report();
  report["results"][0]["conditions"]["others_processors"] = 0.8;
  report["results"][0]["conditions"]["busiest_other"]["name"] = "ffmpeg";
  judge(report);
  const auto& warnings = report["warnings"];
  ASSERT_FALSE(warnings.empty());
  EXPECT_EQ(warnings.back()["code"], "busy-neighbour");
  EXPECT_EQ(warnings.back()["result"], 0);
  EXPECT_THAT(warnings.back()["message"].get<std::string>(), HasSubstr("0.80 processors"));
  EXPECT_THAT(warnings.back()["message"].get<std::string>(), HasSubstr("\"ffmpeg\""));
}

TEST(Judge, allowsForTheResolutionOfProcessorTimes) {
  // One tick of 10 ms in a test of 0.1 s is not a neighbour.
  EXPECT_TRUE(codes_of_result([](Json& r) {
                r["conditions"]["seconds"] = 0.1;
                r["conditions"]["others_processors"] = 0.1;
              }).empty());
}

TEST(Judge, complainsOfWhatDisturbs) {
  const auto conditions = [](const char* key, Json value) {
    return codes_of_result([&](Json& r) { r["conditions"][key] = value; });
  };
  EXPECT_THAT(conditions("steal_processors", 0.2), Contains("steal-time"));
  EXPECT_THAT(conditions("core_mhz_trace", {4000.0, 4000.0, 3900.0, 3800.0, 3600.0, 3600.0}),
              Contains("clock-fell"));
  EXPECT_THAT(conditions("major_faults", 3u), Contains("disk-reads"));
  EXPECT_TRUE(conditions("others_processors", nullptr).empty()) << "unknown is not busy";
}

TEST(Judge, complainsOfSamplesThatNoFigureDescribes) {
  const auto speeds = [](std::vector<double> samples, double sd) {
    return codes_of_result([&](Json& r) {
      r["tokens_per_second"]["samples"] = samples;
      r["tokens_per_second"]["sd"] = sd;
    });
  };
  EXPECT_THAT(speeds({50, 60, 40, 55, 45}, 7.9), Contains("spread"));
  EXPECT_THAT(speeds({50, 50, 50, 50, 40, 40, 40, 40}, 2), Contains("bimodal"));
  EXPECT_THAT(speeds({52, 52, 51, 50, 49, 48}, 0.5), Contains("drift"));
  EXPECT_THAT(speeds({50, 50, 50}, 0), Contains("few-repetitions"));
}

TEST(Judge, complainsOfTheImpossible) {
  EXPECT_THAT(codes_of_result([](Json& r) { r["roofline"]["share"] = 1.2; }),
              Contains("beyond-roofline"));
  EXPECT_THAT(codes_of_result([](Json& r) { r["repetitions_agree"] = false; }),
              Contains("different-tokens"));
}

TEST(Judge, complainsOfMoreMemoryThanPlanned) {
  static constexpr uint64_t kMore = 1'300'000'000;
  EXPECT_THAT(codes_of_result([](Json& r) { r["memory"]["peak_bytes"] = kMore; }),
              Contains("above-plan"));
  EXPECT_THAT(codes([](Json& report) { report["models"][0]["load"]["peak_bytes"] = kMore; }),
              Contains("above-plan"));
  EXPECT_TRUE(codes_of_result([](Json& r) {
                r["device"] = "vulkan:0";
                r["memory"]["peak_bytes"] = kMore;
              }).empty())
      << "a driver takes memory of its own";
  EXPECT_TRUE(codes_of_result([](Json& r) { r["memory"].erase("planned_bytes"); }).empty())
      << "an earlier program";
}

TEST(Judge, complainsOfTheRunAsAWhole) {
  EXPECT_THAT(codes([](Json& report) { report["complete"] = false; }), Contains("incomplete"));
  EXPECT_THAT(codes([](Json& report) { report["rooflines"][1]["read_bandwidth"] = 30e9; }),
              Contains("unsteady-machine"));
  EXPECT_THAT(codes([](Json& report) { report["results"][0]["threads"] = 3; }),
              Contains("too-many-threads"));
}

TEST(Conditions, areDifferencesBetweenTwoMoments) {
  Moment before, after;
  before.time = 100;
  before.busy = 50;
  before.own = 10;
  before.steal = 1;
  before.joules = 1000;
  before.major_faults = 4;
  before.others = {{7, {"old", 3}}, {8, {"busy", 20}}};
  after = before;
  after.time = 104;
  after.busy = 60;  // 10 s of processor time, 6 of them ours
  after.own = 16;
  after.steal = 1.4;
  after.joules = 1100;
  after.major_faults = 6;
  after.others = {{7, {"old", 3}}, {8, {"busy", 22}}, {9, {"new", 1.5}}};
  const Json found = conditions(before, after);
  EXPECT_DOUBLE_EQ(found["seconds"].get<double>(), 4);
  EXPECT_DOUBLE_EQ(found["others_processors"].get<double>(), 1);
  EXPECT_NEAR(found["steal_processors"].get<double>(), 0.1, 1e-12);
  EXPECT_EQ(found["busiest_other"]["name"], "busy");
  EXPECT_DOUBLE_EQ(found["busiest_other"]["processors"].get<double>(), 0.5);
  EXPECT_EQ(found["joules"], 100);
  EXPECT_EQ(found["major_faults"], 2);
}

TEST(Conditions, areNullWhereTheSystemDoesNotTell) {
  Moment before, after;
  after.time = 1;
  before.joules = 5;
  after.joules = 1;  // the counter wrapped
  const Json found = conditions(before, after);
  for (const char* key : {"others_processors", "steal_processors", "busiest_other", "joules"}) {
    EXPECT_TRUE(found[key].is_null()) << key;
  }
}

}  // namespace
}  // namespace quern::bench
