// Layers with a sliding window keep only their window on Vulkan devices, too, alone and in splits.
#include <gtest/gtest.h>

#include "tests/window_models.h"

namespace quern::engine {
namespace {

class VulkanWindowModel : public ::testing::TestWithParam<const char*> {};

TEST_P(VulkanWindowModel, givesTheLogitsOfACacheThatKeepsEverything) {
  const uint32_t layers =
      test::window_engine(GetParam(), test::kWindowChunk)->model().config.layers;
  for (const uint32_t moved : {1u, layers / 2, layers + 1}) {
    SCOPED_TRACE(moved);
    test::expect_logits_of_full_cache(GetParam(), moved == 1 ? 7 : 48,
                                      {.devices = {"vulkan:0"}, .layers = moved, .rules = {}});
  }
}

INSTANTIATE_TEST_SUITE_P(Families, VulkanWindowModel,
                         ::testing::Values("models/gemma2", "models/gemma3", "models/gpt-oss",
                                           "families/cohere2", "families/olmo3"),
                         test::window_model_name);

}  // namespace
}  // namespace quern::engine
