#include "engine/placement.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "engine/devices.h"
#include "engine/model.h"
#include "kernels/backend.h"
#include "kernels/split.h"
#include "tests/golden_path.h"

namespace quern::engine {
namespace {

using kernels::OpGroup;

class PlacementTest : public ::testing::Test {
 protected:
  std::vector<size_t> devices(const Placement& placement) const {
    const auto placed = place(model_.program, model_.config.layers, placement);
    EXPECT_TRUE(placed) << placed.error().to_string();
    return placed.value_or(std::vector<size_t>());
  }
  std::string code(const Placement& placement) const {
    const auto placed = place(model_.program, model_.config.layers, placement);
    return placed ? "" : placed.error().code;
  }

  const gguf::File file_ = *gguf::File::open(test::own_golden("models/llama-moe.gguf"));
  const Model model_ = *read_model(file_);
  const size_t layers_ = model_.config.layers;
};

TEST_F(PlacementTest, groupsAreTheEmbeddingTwoPerLayerAndTheOutput) {
  const std::vector<OpGroup> groups = op_groups(model_.program);
  // embedding, (attention, experts) of each layer, selection of rows, output
  ASSERT_EQ(groups.size(), 1 + 2 * layers_ + 2);
  EXPECT_EQ(groups.front().begin, 0u);
  EXPECT_EQ(groups.back().end, model_.program.ops.size());
  for (size_t i = 1; i < groups.size(); ++i) EXPECT_EQ(groups[i].begin, groups[i - 1].end);
}

TEST_F(PlacementTest, nothingMovesWithoutADevice) {
  EXPECT_EQ(devices({}), std::vector<size_t>(2 * layers_ + 3, 0));
}

TEST_F(PlacementTest, theLastLayersMoveAndTheOutputOnlyWithEverything) {
  std::vector<size_t> expected(2 * layers_ + 3, 0);
  EXPECT_EQ(devices({{"reference"}, 0, {}}), expected);
  for (size_t layers = 1; layers <= layers_; ++layers) {
    const size_t end = 1 + 2 * layers_;
    expected[end - 2 * layers] = expected[end - 2 * layers + 1] = 1;
    EXPECT_EQ(devices({{"reference"}, static_cast<uint32_t>(layers), {}}), expected);
  }
  EXPECT_EQ(devices({{"reference"}, static_cast<uint32_t>(layers_ + 1), {}}),
            std::vector<size_t>(2 * layers_ + 3, 1));
}

TEST_F(PlacementTest, severalDevicesShareTheLayersInTheirOrder) {
  const std::vector<size_t> placed = devices({{"vulkan:0", "vulkan:1"}, 1000, {}});
  EXPECT_TRUE(std::ranges::is_sorted(placed));
  EXPECT_EQ(placed.front(), 1u);
  EXPECT_EQ(placed[1], 1u);
  EXPECT_EQ(placed[2 * layers_], 2u);
  EXPECT_EQ(placed.back(), 2u);
}

TEST_F(PlacementTest, aRuleMovesTheHalfLayerOfATensor) {
  std::vector<size_t> expected(2 * layers_ + 3, 1);
  for (size_t layer = 0; layer < layers_; ++layer) expected[2 + 2 * layer] = 0;
  EXPECT_EQ(devices({{"reference"}, 1000, {{"ffn_.*_exps", "cpu"}}}), expected);
  expected.assign(2 * layers_ + 3, 0);
  expected[1] = 1;
  EXPECT_EQ(devices({{"reference"}, 0, {{"^blk\\.0\\.attn_k", "reference"}}}), expected);
}

TEST_F(PlacementTest, theFirstRuleThatMatchesCounts) {
  const std::vector<size_t> placed =
      devices({{"reference"}, 0, {{"blk.0.attn", "cpu"}, {"attn", "reference"}}});
  EXPECT_EQ(placed[1], 0u);
  EXPECT_EQ(placed[3], 1u);
}

TEST_F(PlacementTest, refusesRulesThatCannotBeFollowed) {
  EXPECT_EQ(code({{}, 0, {{"attn", "vulkan:0"}}}), "place-device");
  EXPECT_EQ(check_devices({{}, 3, {}}).error().code, "place-device");
  EXPECT_EQ(check_devices({{"gpu"}, 3, {}}).error().code, "device-name");
  EXPECT_TRUE(check_devices({{"reference"}, 3, {}}));
  EXPECT_EQ(code({{}, 0, {{"(", "cpu"}}}), "place-pattern");
  EXPECT_EQ(code({{}, 0, {{"no_such_tensor", "cpu"}}}), "place-pattern");
  EXPECT_EQ(parse_rule("attn").error().code, "place-rule");
  EXPECT_EQ(parse_rule("=cpu").error().code, "place-rule");
  EXPECT_EQ(parse_rule("a=b=cpu")->pattern, "a=b");
}

// Logits of a few tokens, all at once, on `backend`.
std::vector<float> logits(kernels::Backend& backend, const Model& model) {
  const std::vector<int32_t> tokens = {1, 20, 33, 4, 150};
  const std::vector<uint32_t> positions = {0, 1, 2, 3, 4}, sequences(5, 0), blocks = {0};
  const std::vector<std::span<const uint32_t>> tables = {blocks};
  const std::vector<uint32_t> wanted = {2, 4};
  const kernels::MaxBatch max{5, 2, 64};
  const auto cache = backend.make_cache(model.program, kernels::CacheType::kF16, 1);
  const auto executable = backend.compile(model.program, model.weights, **cache, max);
  EXPECT_TRUE(executable) << executable.error().to_string();
  const std::atomic<bool> never{false};
  const auto found = (*executable)->run({tokens, positions, sequences, tables, wanted}, never);
  return {found->begin(), found->end()};
}

TEST_F(PlacementTest, bordersBetweenEqualDevicesChangeNoBit) {
  const std::vector<float> expected = logits(*kernels::make_cpu_backend(1), model_);
  const size_t groups = op_groups(model_.program).size();
  for (size_t pattern = 0; pattern < 3; ++pattern) {
    std::vector<size_t> device_of(groups);
    for (size_t i = 0; i < groups; ++i)
      device_of[i] = pattern == 0 ? i % 2 : i * 7 % 5 / pattern % 3;
    std::vector<std::unique_ptr<kernels::Backend>> devices;
    for (int i = 0; i < 3; ++i) devices.push_back(kernels::make_cpu_backend(1));
    const auto split = kernels::make_split_backend(std::move(devices), device_of);
    EXPECT_EQ(logits(*split, model_), expected);
  }
}

TEST_F(PlacementTest, timesOfAllDevicesCountForTheOperationsOfTheWhole) {
  const std::vector<size_t> device_of = [&] {
    std::vector<size_t> all(op_groups(model_.program).size());
    for (size_t i = 0; i < all.size(); ++i) all[i] = i % 2;
    return all;
  }();
  std::vector<std::unique_ptr<kernels::Backend>> devices;
  for (int i = 0; i < 2; ++i) devices.push_back(kernels::make_cpu_backend(1));
  const auto split = kernels::make_split_backend(std::move(devices), device_of);
  const auto cache = split->make_cache(model_.program, kernels::CacheType::kF16, 1);
  const auto executable = *split->compile(model_.program, model_.weights, **cache,
                                          {.rows = 1, .logit_rows = 1, .positions = 64});
  std::vector<double> seconds(model_.program.ops.size(), 0.0);
  executable->time_operations(seconds);
  const std::vector<int32_t> token = {1};
  const std::vector<uint32_t> zero = {0};
  const std::vector<std::span<const uint32_t>> tables = {zero};
  const std::atomic<bool> never{false};
  ASSERT_TRUE(executable->run({token, zero, zero, tables, zero}, never));
  for (const double time : seconds) EXPECT_GT(time, 0);
}

}  // namespace
}  // namespace quern::engine
