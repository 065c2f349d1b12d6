#include "engine/sampler/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <vector>

#include "engine/sampler/penalties.h"

namespace quern::engine {
namespace {

using ::testing::ElementsAre;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Candidates with the given probabilities and ids 0, 1, ...
Candidates from_probabilities(const std::vector<double>& probabilities) {
  Candidates candidates;
  for (const double p : probabilities) {
    candidates.push_back(
        {static_cast<int32_t>(candidates.size()), static_cast<float>(std::log(p)), 0});
  }
  return candidates;
}

std::vector<int32_t> ids(const Candidates& candidates) {
  std::vector<int32_t> result;
  for (const Candidate& c : candidates) result.push_back(c.id);
  return result;
}

std::vector<float> logits_of(const std::vector<double>& probabilities) {
  std::vector<float> logits;
  for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p)));
  return logits;
}

// Options whose every step is neutral: the plain distribution of the model.
SamplerOptions plain(uint64_t seed = 1) {
  SamplerOptions o;
  o.temperature = 1;
  o.top_k = 0;
  o.top_p = 1;
  o.min_p = 0;
  o.seed = seed;
  return o;
}

std::vector<int32_t> draws(Sampler& sampler, const std::vector<float>& logits, int count) {
  std::vector<int32_t> result;
  for (int i = 0; i < count; ++i) result.push_back(sampler.sample(logits, {}).value());
  return result;
}

// Share of each id in `count` draws.
std::map<int32_t, double> shares(const SamplerOptions& options, const std::vector<float>& logits,
                                 int count) {
  Sampler sampler(options);
  std::map<int32_t, double> result;
  for (const int32_t id : draws(sampler, logits, count)) result[id] += 1.0 / count;
  return result;
}

TEST(Random, isXoshiro256StarStarSeededBySplitMix64) {
  // State 1, 2, 3, 4 cannot be set from outside; the published SplitMix64 stream of seed 0 starts
  // with e220a8397b1dcdaf 6e789e6aa1b965f4 06c45d188009454f f88bb8a8724c81ec, from which the first
  // output of xoshiro256** is rotl(word1 * 5, 7) * 9.
  const uint64_t word1 = 0x6e789e6aa1b965f4u * 5;
  EXPECT_EQ(Random(0).next(), ((word1 << 7) | (word1 >> 57)) * 9);
}

TEST(Random, mathAgreesWithTheStandardLibrary) {
  for (double x = 0; x > -690; x -= 0.37) {
    EXPECT_NEAR(portable_exp(x) / std::exp(x), 1, 4e-16) << x;
  }
  EXPECT_EQ(portable_exp(-1e300), 0);
  for (double x = 1e-300; x < 1e300; x *= 3.7) {
    EXPECT_NEAR(portable_log(x), std::log(x), 4e-16 * std::max(1.0, std::abs(std::log(x)))) << x;
  }
}

TEST(SamplerStep, softmaxGivesTheProbabilities) {
  Candidates c = from_probabilities({0.5, 0.25, 0.125, 0.125});
  for (Candidate& candidate : c) candidate.logit += 1000;  // a shift changes nothing
  softmax(c);
  EXPECT_NEAR(c[0].probability, 0.5, 1e-4);
  EXPECT_NEAR(c[1].probability, 0.25, 1e-4);
  EXPECT_NEAR(c[3].probability, 0.125, 1e-4);
}

std::vector<int32_t> top_k(const std::vector<float>& logits, int32_t k) {
  Candidates c;
  collect(c, logits, k);
  return ids(c);
}

TEST(SamplerStep, topKKeepsTheLargestWithTiesByLowerId) {
  const std::vector<float> logits = {1, 2, kNan, 2, 3, -kInf, 2};
  EXPECT_THAT(top_k(logits, 3), ElementsAre(4, 1, 3));
  EXPECT_THAT(top_k(logits, 7), ElementsAre(4, 1, 3, 6, 0));
  EXPECT_THAT(top_k(logits, 0), ElementsAre(0, 1, 3, 4, 6));
  EXPECT_THAT(top_k({kNan, -kInf}, 3), ElementsAre());
  EXPECT_THAT(top_k({}, 0), ElementsAre());
}

TEST(SamplerStep, topKOfALargeVocabularyEqualsSorting) {
  Random random(11);
  std::vector<float> logits(20000);
  // Few different values, so that there are many ties.
  for (float& logit : logits) logit = static_cast<float>(random.next() % 500);
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
  for (const int32_t k : {1, 40, 1000, 19999, 20000}) {
    EXPECT_EQ(top_k(logits, k), std::vector<int32_t>(order.begin(), order.begin() + k)) << k;
  }
}

TEST(SamplerStep, topPKeepsTheShortestListThatReachesTheMass) {
  for (const auto& [mass, kept] :
       std::map<double, size_t>{{0.0, 1}, {0.39, 1}, {0.41, 2}, {0.69, 2}, {0.71, 3}, {0.95, 4}}) {
    Candidates c = from_probabilities({0.1, 0.3, 0.4, 0.2});
    top_p(c, mass);
    const std::vector<int32_t> order = {2, 1, 3, 0};
    EXPECT_EQ(ids(c), std::vector<int32_t>(order.begin(), order.begin() + kept)) << mass;
  }
}

TEST(SamplerStep, topPFindsAMassThatNeedsThousandsOfTokens) {
  Candidates c = from_probabilities(std::vector<double>(10000, 1e-4));
  c[7777].logit += 1;
  top_p(c, 0.5);
  EXPECT_EQ(c.front().id, 7777);
  EXPECT_EQ(c[1].id, 0);
  // Weights: 9999 times 1 and once e; half of 10001.718 is 5000.859 = e + 4998.14.
  EXPECT_EQ(c.size(), 5000u);
  EXPECT_EQ(c.back().id, 4998);
}

TEST(SamplerStep, typicalKeepsTheTokensClosestToTheEntropy) {
  // Entropy 0.3466 + 2 * 0.3219 + 0.2303 = 1.2206;
  // distances 0.527, 0.389, 0.389, 1.082.
  Candidates c = from_probabilities({0.5, 0.2, 0.2, 0.1});
  typical(c, 0.3);
  EXPECT_THAT(ids(c), ElementsAre(1, 2));
  c = from_probabilities({0.5, 0.2, 0.2, 0.1});
  typical(c, 0.45);
  EXPECT_THAT(ids(c), ElementsAre(0, 1, 2));
  c = from_probabilities({0.5, 0.2, 0.2, 0.1});
  typical(c, 0);
  EXPECT_THAT(ids(c), ElementsAre(1));
}

TEST(SamplerStep, minPIsRelativeToTheBest) {
  Candidates c = from_probabilities({0.05, 0.5, 0.11, 0.09, 0.25});
  min_p(c, 0.2);
  EXPECT_THAT(ids(c), ElementsAre(1, 2, 4));
  min_p(c, 1);
  EXPECT_THAT(ids(c), ElementsAre(1));
}

TEST(SamplerStep, excludeTopChoicesKeepsTheLeastLikelyOfThem) {
  Random random(1);
  Candidates c = from_probabilities({0.1, 0.4, 0.3, 0.15, 0.05});
  exclude_top_choices(c, 1, 0.14, random);
  EXPECT_THAT(ids(c), ElementsAre(0, 3, 4));
  // With a single top choice, with none, and with chance 0 nothing goes.
  exclude_top_choices(c, 1, 0.45, random);
  exclude_top_choices(c, 1, 0.9, random);
  exclude_top_choices(c, 0, 0.01, random);
  EXPECT_EQ(c.size(), 3u);
}

TEST(SamplerStep, limitSurpriseDropsTokensAboveTheLimit) {
  // Surprises: 1, 2, 3 and 3 bits.
  Candidates c = from_probabilities({0.125, 0.5, 0.25, 0.125});
  limit_surprise(c, 2.01);
  EXPECT_THAT(ids(c), ElementsAre(1, 2));
  limit_surprise(c, -5);
  EXPECT_THAT(ids(c), ElementsAre(1));
}

TEST(SamplerStep, temperatureFlattensOrSharpens) {
  Candidates c = from_probabilities({0.8, 0.2});
  scale_temperature(c, 2);  // odds 4 become sqrt(4) = 2
  softmax(c);
  EXPECT_NEAR(c[0].probability, 2.0 / 3, 1e-6);
  c = from_probabilities({0.8, 0.2});
  scale_temperature(c, 0.5);  // odds 16
  softmax(c);
  EXPECT_NEAR(c[0].probability, 16.0 / 17, 1e-6);
}

TEST(Penalties, followTheirFormulas) {
  SamplerOptions o = plain();
  o.repeat_penalty = 2;
  o.frequency_penalty = 0.5f;
  o.presence_penalty = 0.25f;
  o.penalty_last_n = 4;
  std::vector<float> logits = {4, -1, 3, 3};
  // Token 3 is out of the window; token 99 is outside the vocabulary.
  const std::vector<int32_t> history = {3, 0, 1, 0, 99};
  apply_penalties(logits, history, o);
  EXPECT_THAT(logits, ElementsAre(4 / 2 - 2 * 0.5f - 0.25f, -1 * 2 - 0.5f - 0.25f, 3, 3));
  o.penalty_last_n = 0;
  const std::vector<float> before = logits;
  apply_penalties(logits, history, o);
  EXPECT_EQ(logits, before);
  o.penalty_last_n = -1;
  apply_penalties(logits, history, o);
  EXPECT_FLOAT_EQ(logits[3], 3 / 2.0f - 0.5f - 0.25f);
}

SamplerOptions dry() {
  SamplerOptions o = plain();
  o.dry_multiplier = 1;
  o.dry_base = 2;
  o.dry_allowed_length = 2;
  return o;
}

std::vector<float> dry_result(const SamplerOptions& options, const std::vector<int32_t>& history) {
  std::vector<float> logits(10, 0.0f);
  apply_dry(logits, history, options);
  return logits;
}

TEST(Dry, penalizesTheTokensThatExtendARepetition) {
  // ... 1 2 3 4 ... 2 3 5 ... 1 2 3: after "1 2 3" came 4 (3 tokens repeated), after "2 3" came 5.
  const std::vector<int32_t> history = {1, 2, 3, 4, 9, 2, 3, 5, 1, 2, 3};
  std::vector<float> expected(10, 0.0f);
  expected[4] = -2;  // 1 * 2^(3 - 2)
  expected[5] = -1;  // 1 * 2^(2 - 2)
  EXPECT_EQ(dry_result(dry(), history), expected);
  SamplerOptions strict = dry();
  strict.dry_allowed_length = 4;
  EXPECT_EQ(dry_result(strict, history), std::vector<float>(10, 0.0f));
}

TEST(Dry, stopsAtBreakersAndNeverPenalizesThem) {
  const std::vector<int32_t> history = {1, 2, 3, 4, 9, 2, 3, 5, 1, 2, 3};
  SamplerOptions o = dry();
  o.dry_breakers = {{1}};
  std::vector<float> expected(10, 0.0f);
  expected[4] = expected[5] = -1;  // only "2 3" counts
  EXPECT_EQ(dry_result(o, history), expected);
  o.dry_breakers = {{4}};
  expected[4] = 0;
  EXPECT_EQ(dry_result(o, history), expected);
  o.dry_breakers = {{1, 2}};  // leaves "3", shorter than allowed
  EXPECT_EQ(dry_result(o, history), std::vector<float>(10, 0.0f));
  o.dry_breakers = {{7, 1, 2, 3}};  // does not occur
  EXPECT_EQ(dry_result(o, history), dry_result(dry(), history));
}

TEST(Dry, looksBackAsFarAsAsked) {
  SamplerOptions o = dry();
  o.dry_last_n = 7;  // 9 2 3 5 1 2 3 without the 9: 4 is forgotten
  std::vector<float> expected(10, 0.0f);
  expected[5] = -1;
  EXPECT_EQ(dry_result(o, {1, 2, 3, 4, 9, 2, 3, 5, 1, 2, 3}), expected);
  o.dry_last_n = 0;
  EXPECT_EQ(dry_result(o, {1, 2, 1, 2, 1, 2}), std::vector<float>(10, 0.0f));
}

TEST(Dry, isBoundedAndFastOnALongRepetition) {
  const std::vector<int32_t> history(100000, 3);
  const std::vector<float> logits = dry_result(dry(), history);
  EXPECT_EQ(logits[3], -1e30f);
}

TEST(Sampler, greedyTakesTheLowestIdOfEqualLogits) {
  SamplerOptions o = plain();
  o.temperature = 0;
  Sampler sampler(o);
  EXPECT_EQ(sampler.sample(std::vector<float>{1, 3, kNan, 3, -kInf}, {}).value(), 1);
  EXPECT_EQ(sampler.sample(std::vector<float>{1, kInf, 3}, {}).value(), 1);
}

TEST(Sampler, drawsTheDistributionOfTheModel) {
  constexpr int kDraws = 100000;  // standard deviation of a share: at most 0.0016
  const auto share = shares(plain(7), logits_of({0.5, 0.3, 0.15, 0.05}), kDraws);
  EXPECT_NEAR(share.at(0), 0.5, 0.006);
  EXPECT_NEAR(share.at(1), 0.3, 0.006);
  EXPECT_NEAR(share.at(2), 0.15, 0.006);
  EXPECT_NEAR(share.at(3), 0.05, 0.006);
}

TEST(Sampler, chainsTheStepsInTheirOrder) {
  SamplerOptions o = plain(7);
  o.logit_bias = {{0, -kInf}};  // leaves 0.3 0.15 0.05 of {0.5, 0.3, 0.15, 0.05}
  o.top_k = 2;                  // leaves 0.3 0.15: odds 2
  o.temperature = 0.5f;         // odds 4
  const auto share = shares(o, logits_of({0.5, 0.3, 0.15, 0.05}), 50000);
  EXPECT_EQ(share.size(), 2u);
  EXPECT_NEAR(share.at(1), 0.8, 0.01);
  EXPECT_NEAR(share.at(2), 0.2, 0.01);
}

TEST(Sampler, penalizesTheHistoryItIsGiven) {
  SamplerOptions o = plain();
  o.temperature = 0;
  o.presence_penalty = 1;
  Sampler sampler(o);
  const std::vector<float> logits = {1, 1.5f, 0};
  EXPECT_EQ(sampler.sample(logits, {}).value(), 1);
  EXPECT_EQ(sampler.sample(logits, std::vector<int32_t>{1}).value(), 0);
  o.dry_multiplier = 10;
  o.presence_penalty = 0;
  ASSERT_TRUE(sampler.set_options(o));
  EXPECT_EQ(sampler.sample(logits, std::vector<int32_t>{0, 2, 1, 0, 2}).value(), 0);
}

TEST(Sampler, xtcActsInItsShareOfTheCalls) {
  SamplerOptions o = plain(3);
  o.xtc_probability = 0.5f;
  o.xtc_threshold = 0.2f;
  // Half of the time {0.6, 0.3, 0.1}, half of the time {0.75, 0.25} of the ids 1 and 2.
  const auto share = shares(o, logits_of({0.6, 0.3, 0.1}), 50000);
  EXPECT_NEAR(share.at(0), 0.3, 0.01);
  EXPECT_NEAR(share.at(1), 0.15 + 0.375, 0.01);
  EXPECT_NEAR(share.at(2), 0.05 + 0.125, 0.01);
}

TEST(Sampler, mirostatReachesTheSurpriseItAimsAt) {
  SamplerOptions o = plain(5);
  o.mirostat = 2;
  o.mirostat_tau = 3;
  std::vector<double> zipf;
  for (int i = 1; i <= 1000; ++i) zipf.push_back(1.0 / i);
  double sum = 0;
  for (const double p : zipf) sum += p;
  Sampler sampler(o);
  double surprise = 0;
  constexpr int kDraws = 5000;
  for (const int32_t id : draws(sampler, logits_of(zipf), kDraws)) {
    surprise -= std::log2(zipf[static_cast<size_t>(id)] / sum) / kDraws;
  }
  // The limit's drift is eta * (sum of the errors), so the mean error is below 2 tau / (eta n).
  EXPECT_NEAR(surprise, 3, 0.02);
}

TEST(Sampler, isDeterministicForASeedAndCopiesContinueTheStream) {
  const std::vector<float> logits(100, 0.0f);
  Sampler a(plain(42)), b(plain(42)), other(plain(43));
  const std::vector<int32_t> first = draws(a, logits, 20);
  EXPECT_EQ(draws(b, logits, 20), first);
  EXPECT_NE(draws(other, logits, 20), first);
  Sampler copy = a;
  EXPECT_EQ(draws(copy, logits, 20), draws(a, logits, 20));
  a.reset();
  EXPECT_EQ(draws(a, logits, 20), first);
  ASSERT_TRUE(other.set_options(plain(42)));
  EXPECT_EQ(draws(other, logits, 20), first);
}

TEST(Sampler, sameSeedSameTokensOnEveryPlatform) {
  // Uniform over 1000 ids: token = floor(1000 * u), with u from the generator tested above.
  Random random(42);
  Sampler sampler(plain(42));
  const std::vector<float> logits(1000, 0.25f);
  for (int i = 0; i < 50; ++i) {
    const double u = random.uniform();
    EXPECT_EQ(sampler.sample(logits, {}).value(), static_cast<int32_t>(1000 * u)) << i;
  }
}

TEST(Sampler, survivesNanAndInfinity) {
  for (const float temperature : {0.0f, 1.0f}) {
    for (const int mirostat : {0, 2}) {
      SamplerOptions o = plain();
      o.temperature = temperature;
      o.mirostat = mirostat;
      o.typical_p = 0.5f;
      o.top_p = 0.5f;
      o.min_p = 0.1f;
      Sampler sampler(o);
      EXPECT_EQ(sampler.sample(std::vector<float>{kNan, -kInf, 2, kNan}, {}).value(), 2);
      EXPECT_EQ(sampler.sample(std::vector<float>{1, kInf, -3e38f}, {}).value(), 1);
      for (const std::vector<float>& none :
           {std::vector<float>{kNan, -kInf}, std::vector<float>{}}) {
        const auto result = sampler.sample(none, {});
        ASSERT_FALSE(result);
        EXPECT_EQ(result.error().code, "no-candidate");
      }
    }
  }
}

TEST(Sampler, biasOfMinusInfinityBansAToken) {
  for (const float temperature : {0.0f, 1.0f}) {
    SamplerOptions o = plain();
    o.temperature = temperature;
    o.logit_bias = {{1, -kInf}, {2, 3}, {1000000, 5}};
    Sampler sampler(o);
    const std::vector<float> logits = {0, 20, 0};
    for (const int32_t id : draws(sampler, logits, 200)) EXPECT_NE(id, 1);
  }
}

TEST(SamplerOptions, everyOptionCanBeSetAndReadByName) {
  for (const OptionRow& row : option_rows()) {
    SamplerOptions o;
    std::string dashed(row.name);
    for (char& c : dashed) c = c == '_' ? '-' : c;
    // 2 for Mirostat, else 1: inside every range.
    const std::string value = row.name == "mirostat" ? "2" : "1";
    ASSERT_TRUE(set_option(o, dashed, value)) << row.name;
    EXPECT_EQ(option_text(o, row), value) << row.name;
    EXPECT_FALSE(row.help.empty());
  }
  SamplerOptions o;
  ASSERT_TRUE(set_option(o, "temp", "0.7"));
  EXPECT_EQ(o.temperature, 0.7f);
  ASSERT_TRUE(set_option(o, "seed", "18446744073709551615"));
  EXPECT_EQ(o.seed, std::numeric_limits<uint64_t>::max());
  ASSERT_TRUE(set_option(o, "logit_bias", "42=-inf"));
  EXPECT_EQ(o.logit_bias.at(42), -kInf);
}

TEST(SamplerOptions, refusesBadNamesAndValuesAndKeepsTheOldOnes) {
  const std::vector<std::array<const char*, 3>> cases = {
      {"temperatur", "1", "option-name"},       {"", "1", "option-name"},
      {"temp", "warm", "option-value"},         {"temp", "", "option-value"},
      {"temp", "1x", "option-value"},           {"temp", " 1", "option-value"},
      {"temp", "-0.1", "option-range"},         {"temp", "nan", "option-range"},
      {"temp", "inf", "option-range"},          {"temp", "1e999", "option-value"},
      {"top_k", "1.5", "option-value"},         {"top_k", "-1", "option-range"},
      {"top_k", "99999999999", "option-value"}, {"top_p", "1.01", "option-range"},
      {"mirostat", "1", "option-range"},        {"mirostat", "3", "option-range"},
      {"seed", "-1", "option-value"},           {"repeat_penalty", "0", "option-range"},
      {"logit_bias", "5", "option-value"},      {"logit_bias", "-5=1", "option-range"},
      {"logit_bias", "5=inf", "option-range"},  {"logit_bias", "5=nan", "option-range"},
      {"logit_bias", "=", "option-value"},
  };
  for (const auto& [name, value, code] : cases) {
    SamplerOptions o;
    const Status status = set_option(o, name, value);
    ASSERT_FALSE(status) << name << " " << value;
    EXPECT_EQ(status.error().code, code) << name << " " << value;
    EXPECT_EQ(status.error().message.find('\n'), std::string::npos);
    for (const OptionRow& row : option_rows()) {
      EXPECT_EQ(option_text(o, row), option_text(SamplerOptions{}, row));
    }
    EXPECT_TRUE(o.logit_bias.empty());
  }
}

TEST(SamplerOptions, validateFindsWhatWasSetDirectly) {
  EXPECT_TRUE(validate({}));
  SamplerOptions o;
  o.typical_p = kNan;
  EXPECT_FALSE(validate(o));
  o = {};
  o.logit_bias[3] = kNan;
  EXPECT_FALSE(validate(o));
  o = {};
  o.dry_breakers.insert(std::vector<int32_t>{});
  EXPECT_FALSE(validate(o));
  Sampler sampler;
  EXPECT_FALSE(sampler.set_options(o));
}

}  // namespace
}  // namespace quern::engine
