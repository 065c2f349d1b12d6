// The most memory that the program takes, beside what it planned.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/synthetic_model.h"
#include "tests/run_program.h"
#include "tools/run_model.h"
#include "tools/sizes.h"

namespace quern {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// 60 million weights, packed nearly as large as in the file; it speaks as the bundled model does.
std::string large_model(const test::TemporaryFolder& folder, const std::string& chat_template) {
  const auto bundled =
      gguf::File::open(QUERN_SOURCE_DIR "/models/quern-tiny-stories-Q4_K_M.gguf").value();
  const auto tokens = static_cast<uint32_t>(bundled.find("tokenizer.ggml.tokens")->size());
  const engine::SyntheticShape shape = {"large", "llama", 4,      1024, 4096, 16,
                                        4,       64,      tokens, 512,  10000};
  gguf::Writer writer = synthetic_model(shape, *engine::find_mix("Q8_0"), 1);
  for (const gguf::MetadataEntry& entry : bundled.metadata()) {
    if (entry.key.starts_with("tokenizer.")) writer.copy(entry);
  }
  if (!chat_template.empty()) writer.set("tokenizer.chat_template", chat_template);
  EXPECT_TRUE(writer.write(folder.file("large.gguf")));
  return folder.file("large.gguf");
}

// Fills most of so little context that nearly all of the plan is for what is loaded.
test::ProgramResult answer(const std::string& model) {
  const char* const prompt =
      "Once upon a time there was a fox. The fox was red and the sky was blue. What is seven plus "
      "five?";
  return test::run_program({"run", model, "--stats", "--ctx", "64", "-p", prompt, "-n", "24",
                            "--temp", "0", "--threads", "2"});
}

// The sizes of "peak 80.1 MiB of 84.2 MiB": the most from the start to the end, and planned.
std::pair<double, double> peak_and_plan(const std::string& text) {
  const size_t peak = text.rfind("; peak ") + 7, plan = text.find(" of ", peak) + 4;
  const auto size = [&](size_t begin, size_t end) {
    return static_cast<double>(tools::parse_size(text.substr(begin, end - begin)).value_or(0));
  };
  return {size(peak, plan - 4), size(plan, text.find('\n', plan))};
}

// While weights are packed, little of them is in memory twice.
TEST(MemoryPeak, ofLoadingStaysWithinThePlanAndNearIt) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers have their own allocator";
#endif
  const test::TemporaryFolder folder;
  const auto result = answer(large_model(folder, ""));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto [peak, plan] = peak_and_plan(result.err);
  EXPECT_LE(peak, plan) << result.err;
  const std::string at_end = result.err.substr(result.err.rfind("memory planned"));
  EXPECT_THAT(at_end, Not(HasSubstr("until it is packed"))) << "the answer is too short";
  // Of the program's 14 MiB the system maps as much as it likes around what is used.
  constexpr double kTolerance = 8 << 20, kProgram = 7 << 20;
  EXPECT_GE(peak, plan - std::max(plan / 50, kTolerance) - kProgram) << result.err;
  EXPECT_THAT(result.err, Not(HasSubstr("warning"))) << result.err;
}

// A new context is loaded while the old one is there, so that it can go on if that fails.
TEST(MemoryPeak, ofANewContextIsThatOfBoth) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "under a sanitizer nothing is measured";
#endif
  const test::TemporaryFolder folder;
  tools::RunModelOptions options;
  options.path = large_model(folder, "");
  options.engine = {.threads = 2, .context = 64};
  const engine::CancelToken never{false};
  const auto model = tools::RunModel::load(options, never);
  ASSERT_TRUE(model) << model.error().to_string();
  ASSERT_TRUE((*model)->set_context(32));
  EXPECT_EQ((*model)->above_plan(), "");
}

// A chat template may take what no plan can know.
TEST(MemoryPeak, aboveThePlanIsSaidInOneLine) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "under a sanitizer nothing is measured";
#endif
  const test::TemporaryFolder folder;
  const std::string model = large_model(folder, "{% set x = [0] * 4000000 %}Hello!");
  const auto result =
      test::run_program({"run", model, "--ctx", "64", "-p", "Hello!", "-n", "1", "--threads", "2"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
  EXPECT_THAT(result.err, ::testing::MatchesRegex(
                              "quern: warning: this took .* of memory at its peak, and .* were "
                              "planned\n"));
}

}  // namespace
}  // namespace quern
