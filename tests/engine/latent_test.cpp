// Latent attention: what the cache keeps of a position, and files of old conversions.
#include <gtest/gtest.h>

#include "engine/memory_plan.h"
#include "kernels/work.h"
#include "tests/golden_model.h"

namespace quern::engine {
namespace {

constexpr uint64_t kLayers = 4, kHeads = 4, kLatent = 16, kTurned = 4, kPlain = 8, kValue = 8;

EngineOptions options(kernels::WeightHome home) {
  return {.threads = 2,
          .context = 64,
          .cache = kernels::CacheType::kF32,
          .batch_rows = 48,
          .logit_rows = 48,
          .weights = home};
}

std::vector<float> logits_of(const char* name, const EngineOptions& with) {
  const test::GoldenModel golden = test::golden_model(name, "logits");
  const auto engine = test::load_engine(golden.path, with);
  Sequence sequence = engine->new_sequence();
  return test::run(*engine, sequence, golden.tokens, 7);
}

TEST(LatentAttention, keepsAVectorOnceForEveryPosition) {
  const auto file = gguf::File::open(test::own_golden("families/deepseek2.gguf"));
  ASSERT_TRUE(file);
  const auto model = read_model(*file);
  ASSERT_TRUE(model) << model.error().to_string();
  EXPECT_EQ(kernels::cache_bytes_per_position(model->program, kernels::CacheType::kF32),
            kLayers * (kLatent + kTurned) * 4);
  const auto plan = plan_memory(*file, *model, options(kernels::WeightHome::kMapped));
  ASSERT_TRUE(plan) << plan.error().to_string();
  EXPECT_EQ(plan->heaps[0].bytes("key/value cache"), kLayers * (kLatent + kTurned) * 4 * 64);
  ASSERT_EQ(plan->cache_terms.size(), 1u);
  EXPECT_EQ(plan->cache_terms[0].value_width, 0u);
}

// attn_kv_b holds the rows of attn_k_b, transposed, and of attn_v_b, head by head.
TEST(LatentAttention, computesTheSameBitsFromAFusedMatrix) {
  for (const auto home : {kernels::WeightHome::kPacked, kernels::WeightHome::kMapped}) {
    for (const bool split : {false, true}) {
      EngineOptions with = options(home);
      if (split) with.placement = {.devices = {"reference"}, .layers = 2, .rules = {}};
      EXPECT_EQ(logits_of("families/deepseek2-fused", with), logits_of("families/deepseek2", with));
    }
  }
}

TEST(LatentAttention, countsTheCopiesOfAFusedMatrix) {
  const auto file = gguf::File::open(test::own_golden("families/deepseek2-fused.gguf"));
  ASSERT_TRUE(file);
  const auto model = read_model(*file);
  ASSERT_TRUE(model) << model.error().to_string();
  const auto plan = plan_memory(*file, *model, options(kernels::WeightHome::kMapped));
  ASSERT_TRUE(plan) << plan.error().to_string();
  EXPECT_EQ(plan->heaps[0].bytes("stacked weights"),
            kLayers * kHeads * (kPlain + kValue) * kLatent * 4);
}

}  // namespace
}  // namespace quern::engine
