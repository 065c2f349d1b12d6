// Whole models on the Vulkan backend against a float64 forward pass made by an independent
// implementation; and what their recorded commands look like.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <numeric>

#include "engine/model.h"
#include "kernels/vulkan/executable.h"
#include "tests/golden_path.h"
#include "tests/kernels/vulkan/test_device.h"

namespace quern::kernels::vulkan {
namespace {

constexpr MaxBatch kMax = {.rows = 48, .logit_rows = 48, .positions = 64};

struct Golden {
  gguf::File file;
  engine::Model model;
  std::vector<int32_t> tokens;
  std::vector<float> exact;  // [tokens][vocabulary]
};

Golden load_golden(const std::string& name) {
  auto file = gguf::File::open(test::own_golden("models/" + name + ".gguf"));
  EXPECT_TRUE(file) << file.error().to_string();
  const auto logits = gguf::File::open(test::own_golden("models/" + name + ".logits.gguf"));
  EXPECT_TRUE(logits) << logits.error().to_string();
  const auto copy = [](const auto& tensor, auto& values) {
    values.resize(tensor.elements());
    std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  };
  Golden golden{std::move(*file), {}, {}, {}};
  copy(*logits->find_number_tensor("tokens"), golden.tokens);
  copy(*logits->find_tensor("exact"), golden.exact);
  auto model = engine::read_model(golden.file);
  EXPECT_TRUE(model) << model.error().to_string();
  golden.model = std::move(*model);
  return golden;
}

// Output of a part of the program for tokens [first, end) of a sequence that lies in block 1.
std::vector<float> run(Executable& executable, const Golden& golden, size_t first, size_t end,
                       size_t part = 0, std::span<const float> input = {}) {
  std::vector<uint32_t> positions(end - first), rows(end - first), sequences(end - first);
  std::iota(positions.begin(), positions.end(), static_cast<uint32_t>(first));
  std::iota(rows.begin(), rows.end(), 0u);
  const std::vector<uint32_t> blocks = {1};
  const std::vector<std::span<const uint32_t>> tables = {blocks};
  const std::atomic<bool> never{false};
  const auto logits =
      executable.run({.tokens = std::span(golden.tokens).subspan(first, end - first),
                      .positions = positions,
                      .sequences = sequences,
                      .block_tables = tables,
                      .logit_rows = rows,
                      .part = part,
                      .input = input},
                     never);
  EXPECT_TRUE(logits) << logits.error().to_string();
  return {logits->begin(), logits->end()};
}

// The largest difference, as a share of the largest logit.
double relative_difference(const std::vector<float>& found, const std::vector<float>& exact) {
  EXPECT_EQ(found.size(), exact.size());
  double largest = 0, difference = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    largest = std::max(largest, std::abs(double{exact[i]}));
    // NaN must not pass: it is larger than nothing.
    const double apart = std::abs(double{found[i]} - exact[i]);
    difference = std::isnan(apart) ? INFINITY : std::max(difference, apart);
  }
  return difference / largest;
}

struct Bound {
  std::unique_ptr<VulkanCache> cache;
  std::unique_ptr<VulkanExecutable> executable;

  explicit Bound(const Golden& golden, CacheType type = CacheType::kF32) {
    Device& device = test::vulkan_device();
    cache = std::move(*VulkanCache::make(device, golden.model.program, type, 2));
    auto made = VulkanExecutable::make(device, golden.model.program, golden.model.weights, *cache,
                                       kMax, {});
    EXPECT_TRUE(made) << made.error().to_string();
    executable = std::move(*made);
  }
};

class VulkanGolden : public ::testing::TestWithParam<const char*> {};

TEST_P(VulkanGolden, matchesTheExactForwardPass) {
  const Golden golden = load_golden(GetParam());
  const Bound bound(golden);
  for (const size_t chunk : {1, 7, 48}) {
    std::vector<float> all;
    for (size_t first = 0; first < golden.tokens.size(); first += chunk) {
      const size_t end = std::min(first + chunk, golden.tokens.size());
      const auto logits = run(*bound.executable, golden, first, end);
      all.insert(all.end(), logits.begin(), logits.end());
    }
    EXPECT_LE(relative_difference(all, golden.exact), 2e-5) << "chunk " << chunk;
  }
}

// What rounding keys and values costs depends on the model (2 to 7 % of the largest logit for
// q8_0), so the measure is the CPU with the same cache. Both round alike, but for values that lie
// between two codes to within the last bit: few, so their cost is a small part of that of rounding
// all.
TEST_P(VulkanGolden, smallerCachesCostWhatTheyCostOnTheCpu) {
  const Golden golden = load_golden(GetParam());
  const size_t count = golden.tokens.size();
  const auto cpu = make_cpu_backend(2);
  for (const CacheType type : {CacheType::kF16, CacheType::kQ8_0}) {
    const Bound made(golden, type);
    const auto cache = std::move(*cpu->make_cache(golden.model.program, type, 2));
    const auto executable =
        std::move(*cpu->compile(golden.model.program, golden.model.weights, *cache, kMax));
    const std::vector<float> found = run(*made.executable, golden, 0, count);
    const std::vector<float> expected = run(*executable, golden, 0, count);
    EXPECT_LE(relative_difference(found, expected),
              relative_difference(expected, golden.exact) / 10);
  }
}

// A border between devices may lie behind any addition to the residual stream.
TEST(VulkanParts, computeWhatTheWholeDoes) {
  Golden golden = load_golden("llama");
  const size_t count = golden.tokens.size();
  const std::vector<float> whole = run(*Bound(golden).executable, golden, 0, count);
  const Part all = golden.model.program.parts[0];
  size_t borders = 0;
  for (size_t i = all.begin; i + 1 < all.end; ++i) {
    const auto* projection = std::get_if<Projection>(&golden.model.program.ops[i]);
    if (!projection || projection->outputs[0].add == kAbsent) continue;
    const ValueId residual = projection->outputs[0].out;
    golden.model.program.parts = {{all.begin, i + 1, all.input, residual},
                                  {i + 1, all.end, residual, all.output}};
    const Bound bound(golden);
    const std::vector<float> middle = run(*bound.executable, golden, 0, count, 0);
    EXPECT_EQ(run(*bound.executable, golden, 0, count, 1, middle), whole) << "behind " << i;
    // The second part takes its input from the caller, not from what the first left behind.
    const std::vector<float> nothing(middle.size());
    EXPECT_NE(run(*bound.executable, golden, 0, count, 1, nothing), whole) << "behind " << i;
    ++borders;
  }
  EXPECT_GE(borders, 4u);
}

// Every barrier of a step is needed, and together they are enough.
TEST_P(VulkanGolden, recordsNoBarrierTooFewOrTooMany) {
  const Golden golden = load_golden(GetParam());
  const Bound bound(golden);
  for (const uint32_t rows : {1u, 48u}) {
    const auto commands = bound.executable->commands({0, rows, rows, 64});
    ASSERT_TRUE(commands);
    const std::vector<Step>& steps = (*commands)->steps;
    EXPECT_FALSE(find_hazard(steps));
    for (size_t i = 0; i < steps.size(); ++i) {
      if (!steps[i].barrier) continue;
      std::vector<Step> without = steps;
      without.erase(without.begin() + static_cast<ptrdiff_t>(i));
      EXPECT_TRUE(find_hazard(without)) << "barrier at " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Families, VulkanGolden,
                         ::testing::Values("llama", "llama3-rope", "llama-yarn",
                                           "llama-linear-rope", "llama-moe", "qwen2", "qwen3"),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

// Stages of a layer, while decoding: norm, Q, K and V; head norms, rope and cache; attention;
// output; gate and up; down.
TEST(VulkanDecode, takesSixStagesPerLayer) {
  for (const char* name : {"llama", "qwen2", "qwen3"}) {
    const Golden golden = load_golden(name);
    const Bound bound(golden);
    const auto commands = bound.executable->commands({0, 1, 1, 64});
    ASSERT_TRUE(commands);
    const auto stages = std::ranges::count((*commands)->steps, true, &Step::barrier) + 1;
    // Beside the layers: the embedding, the selection of rows, the norm with the output matrix, and
    // the copy of the logits.
    EXPECT_LE(stages, 6 * golden.model.config.layers + 4) << name;
  }
}

TEST(VulkanDecode, isTimedByTheDevicesClock) {
  if (test::vulkan_device().caps().timestamp_bits == 0) GTEST_SKIP() << "the device has no clock";
  const Golden golden = load_golden("llama");
  const Bound bound(golden);
  const std::vector<float> untimed = run(*bound.executable, golden, 0, 4);
  std::vector<double> seconds(golden.model.program.ops.size());
  bound.executable->time_operations(seconds);
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(run(*bound.executable, golden, 0, 4), untimed);
  const std::chrono::duration<double> all = std::chrono::steady_clock::now() - start;
  for (const double each : seconds) EXPECT_GE(each, 0);
  EXPECT_GT(std::ranges::count_if(seconds, [](double each) { return each > 0; }),
            static_cast<ptrdiff_t>(seconds.size() / 2));
  EXPECT_LE(std::accumulate(seconds.begin(), seconds.end(), 0.0), all.count());

  bound.executable->time_operations({});
  const std::vector<double> before = seconds;
  EXPECT_EQ(run(*bound.executable, golden, 0, 4), untimed);
  EXPECT_EQ(seconds, before);
}

}  // namespace
}  // namespace quern::kernels::vulkan
