// `quern perplexity` and `quern compare`, as a user meets them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/run_program.h"

namespace quern {
namespace {

using nlohmann::json;
using test::run_program;
using ::testing::HasSubstr;

const std::string kModel = QUERN_SOURCE_DIR "/models/quern-tiny-stories-Q4_K_M.gguf";
const std::string kText = QUERN_SOURCE_DIR "/tests/golden/validation.txt";

json report(const std::vector<std::string>& arguments) {
  const auto result = run_program(arguments);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  return json::parse(result.out);
}

TEST(PerplexityCommand, isTheSameForAnyNumberOfThreads) {
  const auto perplexity = [](const char* threads) {
    return report(
        {"perplexity", kModel, kText, "--context", "128", "--threads", threads, "--json"});
  };
  const json one = perplexity("1"), two = perplexity("2");
  EXPECT_EQ(one, two);
  EXPECT_GT(one["perplexity"], 1.2);
  EXPECT_LT(one["perplexity"], 2.5);
  EXPECT_EQ(one["predictions"], one["windows"].get<int>() * 63);
}

TEST(PerplexityCommand, moreContextPredictsBetter) {
  const auto perplexity = [](const char* context) {
    return report({"perplexity", kModel, kText, "--context", context, "--stride", "16", "--chunks",
                   "20", "--json"})["perplexity"]
        .get<double>();
  };
  EXPECT_LT(perplexity("128"), perplexity("16"));
}

TEST(CompareCommand, aModelIsItselfAndAWorseOneIsNot) {
  const test::TemporaryFolder folder;
  const std::string worse = folder.file("worse.gguf");
  ASSERT_EQ(run_program({"quantize", kModel, worse, "Q2_K"}).exit_code, 0);
  const json rows = report(
      {"compare", kModel, worse, kModel, kText, "--context", "128", "--chunks", "2", "--json"});
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_NEAR(rows[0]["kl_mean"]["value"], 0, 1e-12);
  EXPECT_EQ(rows[0]["top1_agreement"]["value"], 1);
  EXPECT_EQ(rows[0]["perplexity_ratio"]["value"], 1);
  EXPECT_GT(rows[1]["kl_mean"]["value"], 1e-4);
  EXPECT_GE(rows[1]["kl_p99"], rows[1]["kl_median"]);
}

// What int8 activations cost: the bound that the project promises.
TEST(CompareCommand, exactArithmeticDivergesByLessThanTenToTheMinusFour) {
  const json rows =
      report({"compare", "--exact", kModel, kText, "--context", "96", "--chunks", "1", "--json"});
  EXPECT_GT(rows[0]["kl_mean"]["value"], 0);
  EXPECT_LT(rows[0]["kl_mean"]["value"], 1e-4);
}

TEST(CompareCommand, namesWhatIsWrong) {
  const auto message = [](const std::vector<std::string>& arguments) {
    const auto result = run_program(arguments);
    EXPECT_EQ(result.exit_code, 2) << result.err;
    return result.err;
  };
  EXPECT_THAT(message({"compare", kModel, kText}), HasSubstr("the reference and a text"));
  EXPECT_THAT(message({"compare", kModel, kModel, "/nowhere/text"}), HasSubstr("/nowhere/text"));
  EXPECT_THAT(message({"perplexity", kModel, kText, "--context", "5000"}), HasSubstr("5000"));
  EXPECT_THAT(message({"perplexity", kModel, kText, "--context", "64", "--stride", "65"}),
              HasSubstr("--stride 65"));
}

}  // namespace
}  // namespace quern
