// The plan of a device's heap against what its backend allocates.
#include <gtest/gtest.h>

#include "engine/memory_plan.h"
#include "kernels/vulkan.h"
#include "kernels/vulkan/arena.h"
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
