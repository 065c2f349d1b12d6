#include "engine/quality.h"

#include <gtest/gtest.h>

#include <cmath>

namespace quern::engine {
namespace {

const std::string kModel = QUERN_SOURCE_DIR "/models/quern-tiny-stories-Q4_K_M.gguf";
constexpr std::string_view kText =
    "Once upon a time, a quiet fox named Rex lived in the tower. He loved the stillness of the "
    "early morning. One windy day, Rex found a green lantern under a pile of leaves.";

gguf::File open_model() { return std::move(*gguf::File::open(kModel)); }

Tokenizer tokenizer() { return std::move(*Tokenizer::from_file(open_model())); }

TEST(CutWindows, liesSideBySideAndScoresSecondHalves) {
  const Tokenizer words = tokenizer();
  const auto ids = words.encode(kText, true, false);
  const auto windows = cut_windows(words, kText, {8, 8, 0});
  ASSERT_TRUE(windows);
  ASSERT_EQ(windows->size(), ids.size() / 8);
  for (size_t i = 0; i < windows->size(); ++i) {
    const Window& window = (*windows)[i];
    EXPECT_EQ(window.first, 4u);
    EXPECT_EQ(window.tokens[0], *words.bos());
    for (size_t k = 1; k < 8; ++k) EXPECT_EQ(window.tokens[k], ids[8 * i + k]);
  }
}

TEST(CutWindows, overlapsByStrideAndScoresOnlyWhatIsNew) {
  const Tokenizer words = tokenizer();
  const auto ids = words.encode(kText, true, false);
  const auto windows = cut_windows(words, kText, {8, 2, 3});
  ASSERT_TRUE(windows);
  ASSERT_EQ(windows->size(), 3u);
  EXPECT_EQ((*windows)[2].first, 6u);
  EXPECT_EQ((*windows)[2].tokens[1], ids[5]);
}

TEST(CutWindows, refusesATextOfLessThanAWindow) {
  const auto windows = cut_windows(tokenizer(), "Once", {64, 64, 0});
  ASSERT_FALSE(windows);
  EXPECT_EQ(windows.error().code, "text-short");
}

TEST(MeanOf, givesTheStandardErrorOfTheMean) {
  MeanOf mean;
  for (const double v : {1.0, 2.0, 3.0, 4.0}) mean.add(v);
  EXPECT_DOUBLE_EQ(mean.estimate().value, 2.5);
  EXPECT_NEAR(mean.estimate().error, std::sqrt(5.0 / 3 / 4), 1e-12);  // s / sqrt(n)
  EXPECT_DOUBLE_EQ(mean.exponential().value, std::exp(2.5));
}

TEST(Comparison, measuresKnownDistributions) {
  // Probabilities 1/2, 1/4, 1/4 beside 1/4, 1/2, 1/4.
  const float l2 = std::log(2.0f);
  const std::vector<float> reference = {l2 + 3, 3, 3}, model = {-1, l2 - 1, -1};
  Comparison comparison;
  comparison.add(reference, model, 0);
  EXPECT_NEAR(comparison.divergence().value, 0.25 * std::log(2.0), 1e-6);
  EXPECT_NEAR(comparison.reference_perplexity().value, 2, 1e-6);
  EXPECT_NEAR(comparison.perplexity().value, 4, 1e-6);
  EXPECT_NEAR(comparison.ratio().value, 2, 1e-6);
  EXPECT_EQ(comparison.agreement().value, 0);
  comparison.add(reference, reference, 1);
  EXPECT_NEAR(comparison.divergence_quantile(0), 0, 1e-6);
  EXPECT_EQ(comparison.agreement().value, 0.5);
}

// Rows are computed together and logits come in pieces, but they are those of token by token.
TEST(VisitPredictions, seesEveryScoredTokenWithItsLogits) {
  auto file = open_model();
  std::string text;
  for (int i = 0; i < 8; ++i) text += kText;
  const auto windows = cut_windows(tokenizer(), text, {300, 300, 1});
  ASSERT_TRUE(windows) << windows.error().message;
  const auto engine = Engine::load(std::move(file), window_engine({.threads = 1}, 300));
  ASSERT_TRUE(engine);
  const CancelToken never{false};
  const auto& tokens = windows->front().tokens;
  std::vector<float> expected;  // logit of the token that came
  {
    Sequence sequence = (*engine)->new_sequence();
    for (size_t i = 0; i + 1 < tokens.size(); ++i) {
      const Row row{&sequence, tokens[i], true};
      const auto logits = (*engine)->step(std::span(&row, 1), never);
      ASSERT_TRUE(logits);
      if (i >= 150) expected.push_back((*logits)[static_cast<size_t>(tokens[i + 1])]);
    }
  }
  Engine* const engines[] = {engine->get()};
  std::vector<int32_t> seen;
  std::vector<float> found;
  ASSERT_TRUE(visit_predictions(engines, windows->front(), never, [&](auto logits, int32_t next) {
    seen.push_back(next);
    found.push_back(logits[0][static_cast<size_t>(next)]);
  }));
  EXPECT_EQ(seen, std::vector<int32_t>(tokens.begin() + 151, tokens.end()));
  EXPECT_EQ(found, expected);
}

}  // namespace
}  // namespace quern::engine
