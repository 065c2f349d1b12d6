// Which layers a plan puts on devices, for machines that are made up: nothing is opened.
#include "engine/plan_fit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/synthetic_model.h"
#include "kernels/vulkan.h"
#include "tests/golden_path.h"

namespace quern::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint64_t kMiB = 1 << 20, kGiB = 1 << 30;

class PlanFit : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!kernels::vulkan_bytes({}, {1, 1, 1})) GTEST_SKIP() << "built without Vulkan";
  }

  static gguf::File outline(std::string_view shape) {
    return *synthetic_model(*find_synthetic_shape(shape), *find_mix("Q4_K_M"), 1).outline("model");
  }
  static EngineOptions options(std::vector<std::string> devices,
                               Placement::Choice choice = Placement::Choice::kWhatFits) {
    EngineOptions options{.threads = 2, .context = 4096};
    options.placement = {.devices = std::move(devices), .rules = {}, .choice = choice};
    return options;
  }
};

// The plan with exactly `layers` layers on the devices.
MemoryPlan with_layers(const PlanSubject& subject, EngineOptions options, uint32_t layers) {
  options.placement.layers = layers;
  options.placement.choice = Placement::Choice::kAsked;
  return *plan_memory(subject.file, subject.model, options, subject.access, subject.devices);
}

TEST_F(PlanFit, putsAsManyLayersOnADeviceAsFit) {
  const gguf::File file = outline("llama-8b");
  const Model model = *read_model(file);
  const PlanSubject subject{file, model};
  const Budgets budgets{.host = 64 * kGiB, .devices = {3 * kGiB}};
  const auto fit = *fit_memory(subject, options({"vulkan:0"}), budgets, {false, false});
  ASSERT_TRUE(fit);
  const uint32_t layers = fit->plan.options.placement.layers;
  EXPECT_GT(layers, 10u);
  EXPECT_LT(layers, 32u);
  EXPECT_LE(fit->plan.heaps[1].peak(), 3 * kGiB);
  EXPECT_FALSE(with_layers(subject, options({"vulkan:0"}), layers + 1).fits(budgets));
  ASSERT_EQ(fit->changes.size(), 1u);
  EXPECT_THAT(fit->changes[0], HasSubstr("of 32 layers on devices"));
}

TEST_F(PlanFit, keepsExpertsOnTheCpuBeforeLayers) {
  const gguf::File file = outline("mixtral-8x7b");
  const Model model = *read_model(file);
  const PlanSubject subject{file, model};
  const EngineOptions asked = options({"vulkan:0"});
  const uint64_t all = with_layers(subject, asked, Placement::kEverything).heaps[1].peak();
  const auto fit =
      *fit_memory(subject, asked, {.host = 64 * kGiB, .devices = {all - 1}}, {false, false});
  ASSERT_TRUE(fit);
  ASSERT_EQ(fit->changes.size(), 1u);
  EXPECT_THAT(fit->changes[0], HasSubstr("experts of 1 of 32 layers on the CPU"));
  EXPECT_EQ(fit->plan.layers[0].heap, 1u);
  EXPECT_EQ(fit->plan.layers[0].other_heap, 0u);
  EXPECT_EQ(fit->plan.layers[1].other_heap, 1u);
}

TEST_F(PlanFit, neverMovesLayersThatWereAskedFor) {
  const gguf::File file = outline("llama-1b");
  const Model model = *read_model(file);
  const EngineOptions asked = options({"vulkan:0"}, Placement::Choice::kAsked);
  EXPECT_FALSE(*fit_memory({file, model}, asked, {.devices = {100 * kMiB}}, {true, true}));
}

// A layer's keys are one allocation: 32 MiB of 8192 positions, of any number of layers.
TEST_F(PlanFit, keepsAllocationsWithinWhatADeviceAllocatesAtOnce) {
  const gguf::File file = outline("llama-1b");
  const Model model = *read_model(file);
  PlanSubject subject{file, model};
  EngineOptions asked = options({"vulkan:0"});
  asked.context = 32768;
  asked.placement.layers = 8;
  asked.placement.choice = Placement::Choice::kAsked;
  const auto largest = [&] {
    return plan_memory(file, model, asked, subject.access, subject.devices)->heaps[1].largest;
  };
  const uint64_t keys = uint64_t{8} * 64 * 2 * (32768 + 64);
  EXPECT_GE(largest(), keys);
  EXPECT_LE(largest(), keys + (64 << 10));
  subject.devices = {{.name = "vulkan:0", .description = "", .max_allocation = keys - 1}};
  const Budgets budgets{.host = 64 * kGiB, .devices = {64 * kGiB}};
  EXPECT_FALSE(*fit_memory(subject, asked, budgets, {false, false}));
  const auto fit = *fit_memory(subject, asked, budgets, {true, true});
  ASSERT_TRUE(fit);
  EXPECT_THAT(fit->changes, ElementsAre(HasSubstr("q8_0 instead of f16")));
  subject.devices[0].max_allocation = largest() + 4096;
  EXPECT_TRUE(*fit_memory(subject, asked, budgets, {false, false}));
}

// The CPU does not see the memory of a device of its own: weights pass through a buffer.
TEST_F(PlanFit, countsTheStagingBufferOfADeviceWithMemoryOfItsOwn) {
  const gguf::File file = outline("llama-1b");
  const Model model = *read_model(file);
  PlanSubject subject{file, model};
  for (const bool in_host : {false, true}) {
    subject.devices = {{.name = "vulkan:0", .description = "", .in_host = in_host}};
    const MemoryPlan plan = with_layers(subject, options({"vulkan:0"}), 16);
    EXPECT_EQ(plan.heaps[1].bytes("staging"), in_host ? 0 : 16 * kMiB);
  }
}

TEST_F(PlanFit, sharesLayersOutByMemoryAndSpeed) {
  const Placement two{.devices = {"vulkan:0", "vulkan:1"}, .rules = {}};
  const Budgets budgets{.host = 64 * kGiB, .devices = {3 * kGiB, 1 * kGiB}};
  MachineSpeeds speeds;
  EXPECT_THAT(device_shares({.devices = {"vulkan:0"}, .rules = {}}, budgets, &speeds), IsEmpty());
  EXPECT_THAT(device_shares(two, budgets, &speeds), ElementsAre(3. * kGiB, 1. * kGiB));
  speeds.devices["vulkan:0"].formats[gguf::Format::Q4_K] = {2, 1};
  speeds.devices["vulkan:1"].formats[gguf::Format::Q4_K] = {4, 1};
  EXPECT_THAT(device_shares(two, budgets, &speeds), ElementsAre(6. * kGiB, 4. * kGiB));
  EXPECT_THAT(device_shares(two, {}, &speeds), ElementsAre(2, 4));

  // 5.3 GiB of layers and cache, which halves would not fit.
  const gguf::File file = outline("llama-8b");
  const Model model = *read_model(file);
  const auto fit =
      *fit_memory({file, model}, options({"vulkan:0", "vulkan:1"}),
                  {.host = 64 * kGiB, .devices = {6 * kGiB, 2 * kGiB}}, {false, false});
  ASSERT_TRUE(fit);
  const auto on = [&](size_t heap) {
    return std::ranges::count(fit->plan.layers, heap, &LayerPlan::heap);
  };
  EXPECT_EQ(on(1) + on(2), 32);
  EXPECT_EQ(on(1), 24);
}

TEST_F(PlanFit, countsADeviceInHostMemoryForTheHost) {
  const gguf::File file = outline("llama-1b");
  const Model model = *read_model(file);
  PlanSubject subject{file, model};
  subject.devices = {{.name = "vulkan:0", .description = "", .in_host = true}};
  const MemoryPlan plan = with_layers(subject, options({"vulkan:0"}), 16);
  EXPECT_EQ(plan.host_peak(), plan.host().peak() + plan.heaps[1].peak());
  EXPECT_EQ(plan.device_peak(), 0u);
  EXPECT_FALSE(plan.fits({.host = plan.host().peak() + 1, .devices = {}}));
}

TEST_F(PlanFit, movesEveryByteOfWeightsOnce) {
  const gguf::File file = outline("llama-1b");  // its embedding is its output matrix
  const Model model = *read_model(file);
  const PlanSubject subject{file, model};
  const MemoryPlan cpu = *plan_memory(file, model, {.threads = 2, .context = 4096});
  uint64_t last = 0;
  for (const uint32_t layers : {0u, 4u, 16u, 17u}) {
    const MemoryPlan plan = with_layers(subject, options({"vulkan:0"}), layers);
    const uint64_t device = plan.heaps[1].bytes("weights");
    EXPECT_TRUE(layers == 0 ? device == 0 : device > last);
    EXPECT_LE(plan.host().bytes("weights"), cpu.host().bytes("weights") + kMiB);
    EXPECT_EQ(plan.cache_bytes() / kMiB, cpu.cache_bytes() / kMiB);
    last = device;
  }
}

TEST_F(PlanFit, givesUpCacheThenContextWhenLayersDoNotHelp) {
  const gguf::File file = outline("llama-1b");
  const Model model = *read_model(file);
  const uint64_t asked = plan_memory(file, model, {.threads = 2, .context = 65536})->host_peak();
  const auto fit = *fit_memory({file, model}, {.threads = 2, .context = 65536},
                               {.host = asked / 2, .devices = {}}, {true, true});
  ASSERT_TRUE(fit);
  EXPECT_THAT(fit->changes,
              ElementsAre(HasSubstr("q8_0 instead of f16"), HasSubstr("instead of 65536")));
}

// Positions that a model has learned end: no plan is longer.
TEST(PlanContext, endsWithLearnedPositions) {
  const gguf::File file = *gguf::File::open(test::own_golden("models/gpt2.gguf"));
  const Model model = *read_model(file);
  ASSERT_LT(model.max_positions, 100000u);
  const auto plan = plan_memory(file, model, {.context = model.max_positions + 1});
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().code, "context-range");
  EXPECT_LE(plan_memory(file, model, {})->options.context, model.max_positions);
  const auto others = *other_contexts({file, model}, *plan_memory(file, model, {}));
  for (const Alternative& other : others) {
    EXPECT_LE(other.plan.options.context, model.max_positions);
  }
}

}  // namespace
}  // namespace quern::engine
