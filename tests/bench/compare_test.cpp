// Reports read from files, compared and verified.
#include "bench/compare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bench/report_file.h"
#include "bench/verify.h"
#include "tests/bench/sample_report.h"

namespace quern::bench {
namespace {

using test::sample_report;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(ReportFile, readsWhatWasWritten) {
  const Json report = sample_report();
  EXPECT_EQ(*parse_report(report.dump()), report);
}

TEST(ReportFile, refusesWhatIsNotAReport) {
  EXPECT_EQ(parse_report("{").error().code, "report-json");
  EXPECT_EQ(parse_report("[]").error().code, "report-schema");
  EXPECT_EQ(parse_report("{}").error().code, "report-schema");
  Json report = sample_report();
  report["schema_version"] = 2;
  EXPECT_THAT(parse_report(report.dump()).error().message, HasSubstr("schema version"));
}

TEST(ReportFile, refusesEveryMissingOrWrongMember) {
  const char* const members[] = {"/quern/commit",
                                 "/machine/processor/model",
                                 "/models/0/sha256",
                                 "/results/0/tokens",
                                 "/results/1/tokens_per_second/samples",
                                 "/results/1/tokens_per_second/median",
                                 "/results/1/kv",
                                 "/results/1/token_digest"};
  for (const char* member : members) {
    const Json::json_pointer path(member);
    for (const Json& value : {Json(nullptr), Json(-1), Json::array({0})}) {
      Json report = sample_report();
      report[path] = value;
      if (value.is_array() && std::string_view(member).ends_with("sha256")) continue;
      EXPECT_FALSE(parse_report(report.dump())) << member << " " << value;
    }
  }
  Json report = sample_report();
  report["results"][0]["model"] = 1;
  EXPECT_FALSE(parse_report(report.dump())) << "there is one model only";
}

TEST(Compare, givesRatiosWithIntervals) {
  Json faster = sample_report();
  for (Json& result : faster["results"]) {
    Json& speed = result["tokens_per_second"];
    speed["median"] = 1.5 * speed["median"].get<double>();
    for (Json& sample : speed["samples"]) sample = 1.5 * sample.get<double>();
  }
  const NamedReport reports[] = {{"a", sample_report()}, {"b", faster}};
  const Json comparison = *compare(reports);
  ASSERT_EQ(comparison["rows"].size(), 2u);
  EXPECT_TRUE(comparison["warnings"].empty()) << comparison["warnings"];
  const Json& row = comparison["rows"][1];
  EXPECT_EQ(row["test"], "decode");
  EXPECT_DOUBLE_EQ(row["ratio"].get<double>(), 1.5);
  EXPECT_LT(row["ci95"][0].get<double>(), 1.5);
  EXPECT_GT(row["ci95"][0].get<double>(), 1.4);
  EXPECT_THAT(comparison_text(comparison), HasSubstr("faster"));
}

TEST(Compare, saysWhatWasNotTheSame) {
  Json other = sample_report();
  other["models"][0]["sha256"] = {"another"};
  other["machine"]["processor"]["model"] = "Other CPU";
  other["results"][0]["threads"] = 4;
  const NamedReport reports[] = {{"a", sample_report()}, {"b", other}};
  const std::string text = comparison_text(*compare(reports));
  EXPECT_THAT(text, HasSubstr("NOT THE SAME WORK"));
  EXPECT_THAT(text, HasSubstr("4 threads, not 2"));
  EXPECT_THAT(text, HasSubstr("another processor"));
}

TEST(Compare, noticesOtherTokensOfTheSameModel) {
  Json other = sample_report();
  other["results"][0]["token_digest"] = "1234";
  const NamedReport reports[] = {{"a", sample_report()}, {"b", other}};
  EXPECT_THAT(comparison_text(*compare(reports)), HasSubstr("other tokens"));
}

TEST(Compare, refusesReportsWithoutACommonTest) {
  Json other = sample_report();
  for (Json& result : other["results"]) result["depth"] = 7;
  const NamedReport reports[] = {{"a", sample_report()}, {"b", other}};
  EXPECT_EQ(compare(reports).error().code, "compare-nothing");
}

// Verifies a report against what a rerun would say if `change` happened in it.
template <typename Change>
Json verified(Change change) {
  const Json report = sample_report();
  const auto runs = *reruns(report, "");
  Json here = report;
  here["publishable"] = true;  // also in a debug build
  here["warnings"] = Json::array();
  change(here);
  return verify(report, runs, {here}, 0.1);
}

TEST(Verify, repeatsTheTestsOfTheReport) {
  const auto runs = *reruns(sample_report(), "");
  ASSERT_EQ(runs.size(), 1u);
  EXPECT_EQ(runs[0].options.models[0], "m.gguf");
  EXPECT_EQ(runs[0].options.threads[0], 2u);
  ASSERT_EQ(runs[0].options.tests.size(), 2u);
  EXPECT_EQ(runs[0].options.tests[1].kind, bench::Test::Kind::kDecode);
  EXPECT_EQ(runs[0].options.tests[1].depth, 1024u);
  EXPECT_EQ((*reruns(sample_report(), "here.gguf"))[0].options.models[0], "here.gguf");
}

TEST(Verify, runsEverySettingOnItsOwn) {
  Json report = sample_report();
  report["results"][1]["kv"] = "q8_0";
  EXPECT_EQ(reruns(report, "")->size(), 2u);
  report["results"][1]["kv"] = "q3_7";
  EXPECT_EQ(reruns(report, "").error().code, "verify-kv");
  report["results"] = Json::array();
  EXPECT_EQ(reruns(report, "").error().code, "verify-empty");
}

TEST(Verify, confirmsTheSameTokensAtAboutTheSameSpeed) {
  const Json found =
      verified([](Json& here) { here["results"][0]["tokens_per_second"]["median"] = 400 * 1.05; });
  EXPECT_TRUE(found["agrees"].get<bool>());
  EXPECT_THAT(verification_text(found), HasSubstr("+5.0 %"));
}

TEST(Verify, rejectsOtherTokensWhereDeterminismIsPromised) {
  const auto other_tokens = [](Json& here) { here["results"][1]["token_digest"] = "11"; };
  const Json found = verified(other_tokens);
  EXPECT_FALSE(found["agrees"].get<bool>());
  EXPECT_THAT(verification_text(found), HasSubstr("NOT confirmed"));
  EXPECT_TRUE(verified([&](Json& here) {
                other_tokens(here);
                here["quern"]["instruction_set"] = "SSE4";
              })["agrees"]
                  .get<bool>());
}

TEST(Verify, rejectsAnotherModelAndAnUnexplainedSpeed) {
  EXPECT_FALSE(verified([](Json& here) { here["models"][0]["sha256"] = {"x"}; })["agrees"]);
  const auto slower = [](Json& here) { here["results"][1]["tokens_per_second"]["median"] = 30; };
  EXPECT_FALSE(verified(slower)["agrees"]);
  const Json explained = verified([&](Json& here) {
    slower(here);
    here["machine"]["processor"]["model"] = "Slow CPU";
  });
  EXPECT_TRUE(explained["agrees"].get<bool>());
  EXPECT_THAT(verification_text(explained), HasSubstr("another processor"));
}

}  // namespace
}  // namespace quern::bench
