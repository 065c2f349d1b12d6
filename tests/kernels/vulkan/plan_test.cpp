// The plan of a device's heap against what its backend allocates, and of host and device together.
#include <gtest/gtest.h>

#include "engine/memory_plan.h"
#include "kernels/vulkan.h"
#include "kernels/vulkan/arena.h"
#include "tests/engine/memory_growth.h"
#include "tests/golden_path.h"
#include "tests/kernels/vulkan/test_device.h"

namespace quern::engine {
namespace {

using kernels::CacheType;

// A planned heap is what is taken, to the byte: it needs no slack.
void expect_as_planned(const std::string& path, const EngineOptions& options) {
  const uint64_t before = kernels::vulkan_usage(0)->now;
  const gguf::File file = *gguf::File::open(path);
  const std::vector<DeviceProfile> devices = {*describe_device("vulkan:0")};
  const auto access = gguf::OpenOptions::Access::kMap;
  const HeapPlan heap = plan_memory(file, *read_model(file), options, access, devices)->heaps[1];
  EXPECT_FALSE(heap.too_large_at_once());
  EXPECT_GT(heap.largest, 0u);
  const auto engine = Engine::load(*gguf::File::open(path), options);
  ASSERT_TRUE(engine) << engine.error().to_string();
  Sequence sequence = (*engine)->new_sequence();
  const CancelToken never{false};
  const std::vector<Row> rows = {{&sequence, 1, false}, {&sequence, 2, true}};
  ASSERT_TRUE((*engine)->step(rows, never));
  const uint64_t taken = kernels::vulkan_usage(0)->now - before;
  EXPECT_EQ(heap.bytes("slack"), 0u);
  // Staging is made when it is first needed, which is never where the CPU sees a device's memory.
  EXPECT_EQ(taken, heap.peak() - (heap.peak() > taken ? heap.bytes("staging") : 0));
}

TEST(VulkanPlan, isWhatADeviceAllocates) {
  for (const char* model : {"llama", "qwen3", "qwen2", "llama-moe"}) {
    for (const uint32_t layers : {1u, Placement::kEverything}) {
      for (const CacheType cache : {CacheType::kF32, CacheType::kF16, CacheType::kQ8_0}) {
        SCOPED_TRACE(testing::Message() << model << ' ' << layers << ' ' << int(cache));
        expect_as_planned(test::own_golden(std::string("models/") + model + ".gguf"),
                          {.threads = 1,
                           .context = 64,
                           .cache = cache,
                           .batch_rows = 16,
                           .sequences = layers == 1 ? 3u : 1u,
                           .placement = {.devices = {"vulkan:0"}, .layers = layers, .rules = {}}});
      }
    }
  }
}

using test::Configuration;

// Small models of three kinds and one with more cache than weights, at three contexts and cache
// types, with no, half and all layers on the device, packed and mapped; and some that are larger.
std::vector<Configuration> configurations() {
  using enum kernels::WeightHome;
  std::vector<Configuration> all;
  for (const auto& [shape, layers] :
       {std::pair{"tiny", 2u}, {"tiny-moe", 2u}, {"tiny-hybrid", 4u}, {"wide", 8u}}) {
    for (const auto& [context, cache] :
         {std::pair{64u, CacheType::kF16}, {512u, CacheType::kF32}, {2048u, CacheType::kQ8_0}}) {
      for (const uint32_t moved : {0u, layers / 2, layers}) {
        const bool mapped = all.size() % 2 == 1;
        all.push_back({.shape = shape,
                       .mix = mapped ? "Q8_0" : "Q4_K_M",
                       .context = context,
                       .cache = cache,
                       .batch = 16,
                       .weights = mapped ? kMapped : kPacked,
                       .moved = moved});
      }
    }
  }
  all.push_back(
      {.shape = "wide", .mix = "F16", .context = 256, .cache = CacheType::kF32, .fill = true});
  all.back().moved = 4;
  all.push_back({.shape = "wide", .mix = "F16", .context = 4096, .batch = 16, .moved = 8});
  all.push_back({.shape = "qwen2-0.5b", .mix = "Q4_0", .context = 4096, .batch = 4, .moved = 2});
  for (Configuration& c : all) c.device = "vulkan:0";
  return all;
}

// Growth after the device is open and has compiled its kernels, which drivers keep as memory of
// their own: everything is done twice, and the second time counts. A software device's memory is
// the process's: the device says how much it is, so that it counts once.
TEST(VulkanPlan, ofHostAndDeviceIsWhatIsTaken) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "sanitizers have their own allocator";
#endif
  const test::DeviceUse device{{*describe_device("vulkan:0")},
                               [] { return kernels::vulkan_usage(0)->now; }};
  if (!device.profiles[0].in_host) GTEST_SKIP() << "a device with memory of its own";
  // Else large blocks may come from the free memory of earlier tests, resident before they are
  // used.
  ::mallopt(M_MMAP_THRESHOLD, 128 << 10);
  for (const Configuration& c : configurations()) {
    SCOPED_TRACE(testing::PrintToString(c));
    EngineOptions options = options_of(c);
    options.open_device = test::open_shared_device;
    measure(c, options, device);
    const test::Growth growth = measure(c, options, device);
    expect_as_planned(growth, c.fill);
    EXPECT_EQ(growth.device_taken, growth.device);
    EXPECT_LE(growth.allocated - growth.device_taken, growth.peak - growth.device);
  }
}

// A device that allocates little at once has several buffers, and the plan knows each one's size.
TEST(VulkanPlan, knowsTheBuffersOfAnArena) {
  constexpr uint64_t kAtOnce = 200'000;
  kernels::vulkan::Device& device = test::vulkan_device();
  kernels::vulkan::Arena arena(kAtOnce);
  uint64_t wanted = 0;
  for (const uint64_t bytes : {0, 70'000, 65'536, 1, 130'000, 66'000, 196'000, 4}) {
    arena.add(bytes);
    wanted += bytes;
  }
  EXPECT_GT(arena.bytes(), wanted);
  EXPECT_LE(arena.largest(), kAtOnce);
  const uint64_t before = device.count().now();
  ASSERT_TRUE(arena.allocate(device, kernels::vulkan::Memory::kDevice));
  EXPECT_EQ(device.count().now() - before, arena.bytes());
}

}  // namespace
}  // namespace quern::engine
