// The plan of a device's heap against what its backend allocates.
#include <gtest/gtest.h>

#include "engine/memory_plan.h"
#include "kernels/vulkan.h"
#include "tests/golden_path.h"

namespace quern::engine {
namespace {

using kernels::CacheType;

// A planned heap is never less than what is taken, and more only by its slack.
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
  EXPECT_LE(taken, heap.peak());
  EXPECT_GE(taken + heap.bytes("slack") + 4096, heap.peak());
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

}  // namespace
}  // namespace quern::engine
