// The choice of experts and what surrounds their products, against plain C++.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <set>

#include "shaders/shared.h"
#include "tests/kernels/vulkan/shader_test.h"

namespace quern::kernels::vulkan {
namespace {

using shaders::ExpertTile;
using shaders::RoutePush;
using test::Floats;

constexpr uint32_t kRows = 5;

// Indices by falling score; ties: lower index.
std::vector<uint32_t> ranked(const std::vector<double>& scores) {
  std::vector<uint32_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, std::greater<>(), [&](uint32_t i) { return scores[i]; });
  return order;
}

struct Choice {
  std::vector<uint32_t> experts;
  std::vector<double> shares;
};

// Routing (op.h), by the formula.
Choice choose(const RoutePush& push, const float* logits, const Floats& bias) {
  std::vector<double> p(logits, logits + push.experts);
  for (double& x : p) x = push.sigmoid ? 1 / (1 + std::exp(-x)) : std::exp(x);
  const double total = push.sigmoid ? 1 : std::accumulate(p.begin(), p.end(), 0.0);
  for (double& x : p) x /= total;
  std::vector<double> scores = p, groups;
  for (uint32_t e = 0; e < push.experts && push.selection_bias; ++e) scores[e] += bias[e];
  const uint32_t each = push.experts / push.groups;
  for (uint32_t g = 0; g < push.groups; ++g) {
    std::vector<double> group(&scores[g * each], &scores[g * each] + each);
    std::ranges::sort(group, std::greater<>());
    groups.push_back(group[0] + (each > 1 ? group[1] : 0));
  }
  const std::vector<uint32_t> best_groups = ranked(groups);
  for (uint32_t i = push.groups_used; i < push.groups; ++i) {
    std::fill_n(&scores[best_groups[i] * each], each, -INFINITY);
  }
  Choice choice{ranked(scores), {}};
  choice.experts.resize(push.used);
  double sum = 0;
  for (const uint32_t e : choice.experts) sum += p[e];
  for (const uint32_t e : choice.experts) {
    choice.shares.push_back(push.scale * p[e] / (push.normalized ? sum : 1));
  }
  return choice;
}

class ShaderRoute : public ::testing::TestWithParam<RoutePush> {};

TEST_P(ShaderRoute, choosesLikeTheFormula) {
  RoutePush push = GetParam();
  std::mt19937 random(8);
  Floats logits = test::normal(kRows * push.experts, random);
  for (uint32_t e = 0; e < push.experts; ++e) logits[e] = static_cast<float>(e % 3);  // ties
  const Floats bias = test::normal(push.experts, random);
  const Buffer logits_buffer = test::vulkan_buffer(logits), bias_buffer = test::vulkan_buffer(bias);
  const Buffer tiles = test::vulkan_buffer(std::vector<ExpertTile>(kRows * push.used));
  const Buffer shares = test::vulkan_buffer(Floats(kRows * push.used));
  push.logits = logits_buffer.address();
  push.tiles = tiles.address();
  push.shares = shares.address();
  if (push.selection_bias) push.selection_bias = bias_buffer.address();
  test::dispatch("route", {64, 0}, push, {.x = kRows});
  const auto tile = test::vulkan_values<ExpertTile>(tiles, kRows * push.used);
  const Floats share = test::vulkan_values<float>(shares, kRows * push.used);
  for (uint32_t row = 0; row < kRows; ++row) {
    const Choice expected = choose(push, &logits[row * push.experts], bias);
    for (uint32_t rank = 0; rank < push.used; ++rank) {
      const uint32_t slot = row * push.used + rank;
      EXPECT_EQ(tile[slot].expert, expected.experts[rank]) << "row " << row << ", rank " << rank;
      EXPECT_EQ(tile[slot].start, slot);
      EXPECT_EQ(tile[slot].count, 1u);
      EXPECT_NEAR(share[slot], expected.shares[rank], 1e-5);
    }
  }
}

// Addresses are filled in by the test; selection_bias 1 asks for one.
RoutePush routing(uint32_t experts, uint32_t used, uint64_t bias, uint32_t groups,
                  uint32_t groups_used, uint32_t sigmoid, uint32_t normalized, float scale) {
  return {0, bias, 0, 0, 0, experts, used, groups, groups_used, sigmoid, normalized, scale, 0};
}

INSTANTIATE_TEST_SUITE_P(Routings, ShaderRoute,
                         ::testing::Values(routing(8, 2, 0, 1, 1, 0, 1, 1),
                                           routing(100, 6, 0, 1, 1, 0, 0, 2.5f),
                                           routing(64, 6, 1, 8, 3, 1, 1, 2.5f),
                                           routing(16, 16, 1, 1, 1, 1, 1, 1),
                                           routing(4, 1, 0, 4, 2, 0, 1, 1)));

TEST(ShaderExpertLists, nameEverySlotOnce) {
  constexpr uint32_t kExperts = 40, kSlots = 500, kTiles = kSlots / 64 + kExperts;
  std::mt19937 random(4);
  std::vector<ExpertTile> choices;
  for (uint32_t slot = 0; slot < kSlots; ++slot) {
    const uint32_t expert = slot % 2 ? 7 : random() % kExperts;  // one fills several tiles
    choices.push_back({expert, slot, 1});
  }
  const Buffer in = test::vulkan_buffer(choices);
  const Buffer indices = test::vulkan_buffer(std::vector<uint32_t>(kSlots));
  const Buffer tiles = test::vulkan_buffer(std::vector<ExpertTile>(kTiles, {99, 99, 99}));
  test::dispatch("expert_lists", {64, 0},
                 shaders::ExpertListsPush{.choices = in.address(),
                                          .indices = indices.address(),
                                          .tiles = tiles.address(),
                                          .slots = kSlots,
                                          .experts = kExperts,
                                          .tile_count = kTiles},
                 {});
  const auto slots = test::vulkan_values<uint32_t>(indices, kSlots);
  std::set<uint32_t> seen;
  for (const ExpertTile& tile : test::vulkan_values<ExpertTile>(tiles, kTiles)) {
    EXPECT_LE(tile.count, shaders::kMatmulTile);
    for (uint32_t i = tile.start; i < tile.start + tile.count; ++i) {
      ASSERT_LT(i, kSlots);
      EXPECT_TRUE(seen.insert(slots[i]).second) << "slot " << slots[i] << " twice";
      EXPECT_EQ(choices[slots[i]].expert, tile.expert);
    }
  }
  EXPECT_EQ(seen.size(), kSlots);
}

TEST(ShaderSumExperts, addsTheSharesOfEveryRow) {
  constexpr uint32_t kWidth = 100, kUsed = 3;
  std::mt19937 random(6);
  const Floats products = test::normal(kRows * kUsed * kWidth, random);
  const Floats shares = test::normal(kRows * kUsed, random);
  const Floats add = test::normal(kRows * kWidth, random);
  const Buffer product_buffer = test::vulkan_buffer(products);
  const Buffer share_buffer = test::vulkan_buffer(shares), out = test::vulkan_buffer(add);
  test::dispatch("sum_experts", {64, 0},
                 shaders::SumExpertsPush{.products = product_buffer.address(),
                                         .shares = share_buffer.address(),
                                         .add = out.address(),
                                         .out_rows = out.address(),
                                         .width = kWidth,
                                         .used = kUsed},
                 {.x = 2, .y = kRows});
  const Floats result = test::vulkan_values<float>(out, add.size());
  for (uint32_t i = 0; i < result.size(); ++i) {
    const uint32_t row = i / kWidth;
    double expected = add[i];
    for (uint32_t slot = row * kUsed; slot < (row + 1) * kUsed; ++slot) {
      expected += double{shares[slot]} * products[slot * kWidth + i % kWidth];
    }
    EXPECT_NEAR(result[i], expected, 1e-5);
  }
}

}  // namespace
}  // namespace quern::kernels::vulkan
