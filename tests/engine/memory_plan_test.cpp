// The memory plan against the memory that a process really takes.
#include "engine/memory_plan.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/synthetic_model.h"
#include "tests/engine/memory_growth.h"
#include "tests/temporary_folder.h"

namespace quern::engine {
namespace {

constexpr uint64_t kGiB = 1 << 30;
using test::Configuration;
using test::Growth;
using enum kernels::CacheType;
using enum kernels::WeightHome;

// Measured in a child process, so that nothing of an earlier configuration is in the way.
Growth measure_alone(const Configuration& c) {
  int ends[2];
  EXPECT_EQ(::pipe(ends), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const Growth growth = measure(c, options_of(c));
    const bool sent = ::write(ends[1], &growth, sizeof growth) == sizeof growth;
    ::_exit(sent && !testing::Test::HasFailure() ? 0 : 1);
  }
  Growth growth{};
  EXPECT_EQ(::read(ends[0], &growth, sizeof growth), static_cast<ssize_t>(sizeof growth));
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  ::close(ends[0]);
  ::close(ends[1]);
  return growth;
}

constexpr Configuration kConfigurations[] = {
    {"tiny", "Q4_K_M", 64},
    {"tiny", "Q4_K_M", 512},
    {"tiny", "F32", 512, kF32},
    {"tiny", "Q8_0", 512, kQ8_0},
    {"tiny", "Q2_K", 512, kF16, 1},
    {"tiny", "IQ4_XS", 512, kF16, 32},
    {"tiny", "Q6_K", 512, kF16, 512, 1, 1},
    {"tiny", "Q6_K", 512, kF16, 512, 1, 7},
    {"tiny", "Q4_0", 512, kF16, 512, 1, 2, "llama", 2000},
    {"tiny", "Q4_0", 512, kF16, 512, 1, 2, "llama", 32000},
    {"tiny", "Q4_0", 512, kF16, 512, 1, 2, "gpt2", 2000},
    {"tiny", "Q4_0", 512, kF16, 512, 1, 2, "gpt2", 50000},
    {"tiny", "Q4_0", 512, kF16, 512, 1, 2, "gpt2", 152000},
    {"tiny", "Q4_K_M", 131072},
    {"tiny", "Q4_K_M", 131072, kQ8_0},
    {"tiny", "Q4_K_M", 4096, kF16, 512, 16},
    {"tiny-moe", "Q4_K_M", 512},
    {"tiny-moe", "Q4_K_M", 2048, kQ8_0},
    {"tiny-moe", "MXFP4_MOE", 512, kF16, 64},
    {"tiny-moe", "Q5_K_M", 65536, kF32},
    {"tiny-moe", "Q8_0", 512, kF16, 512, 4, 3},
    {"qwen2-0.5b", "Q4_K_M", 512},
    {"qwen2-0.5b", "Q4_K_M", 32768},
    {"qwen2-0.5b", "Q8_0", 8192, kQ8_0, 64},
    {"qwen2-0.5b", "Q4_0", 4096, kF32, 512, 3},
    {"qwen3-0.6b", "Q4_K_M", 4096},
    {"qwen3-0.6b", "IQ4_NL", 40960, kQ8_0},
    {"llama-1b", "Q4_K_M", 4096},
    {"llama-1b", "Q4_K_M", 131072, kF16, 64},
    {"llama-1b", "Q2_K", 8192, kF32, 64, 2, 4},
    {"wide", "F16", 1024, kF32, 512, 1, 2, "no_vocab", 0, true},
    {"wide", "F16", 1024, kF16, 512, 1, 2, "no_vocab", 0, true},
    {"wide", "F16", 1024, kQ8_0, 64, 1, 2, "no_vocab", 0, true},
    {"tiny-hybrid", "Q4_K_M", 512},
    {"tiny-hybrid", "Q8_0", 4096, kQ8_0, 64, 8},
    {"tiny", "Q4_K_M", 512, kF16, 512, 1, 2, "no_vocab", 0, false, kMapped},
    {"qwen2-0.5b", "Q4_K_M", 4096, kQ8_0, 64, 1, 2, "no_vocab", 0, false, kMapped},
    {"tiny", "Q4_K_M", 512, kF16, 64, 1, 2, "no_vocab", 0, false, kPacked, 1},
    {"tiny", "Q8_0", 512, kF32, 64, 1, 2, "no_vocab", 0, false, kMapped, 2},
    {"tiny-moe", "Q4_K_M", 2048, kF16, 64, 2, 2, "no_vocab", 0, false, kPacked, 1},
    {"tiny-hybrid", "Q4_K_M", 512, kF16, 16, 1, 2, "no_vocab", 0, false, kPacked, 2},
    {"wide", "F16", 1024, kF16, 64, 1, 2, "no_vocab", 0, true, kPacked, 4},
};

class MemoryPlanTest : public testing::TestWithParam<Configuration> {};

TEST_P(MemoryPlanTest, isWhatIsTaken) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers have their own allocator";
#endif
  expect_as_planned(measure_alone(GetParam()), GetParam().fill);
}

INSTANTIATE_TEST_SUITE_P(All, MemoryPlanTest, testing::ValuesIn(kConfigurations));

// Shapes of Llama 3 70B: 80 layers, 8 key/value heads of 128 values.
TEST(MemoryPlanTerms, areThePublishedCacheSizesOf70B) {
  const gguf::File file =
      *synthetic_model(*find_synthetic_shape("llama-70b"), *find_mix("Q4_K_M"), 1).outline("70b");
  const Model model = *read_model(file);
  const auto cache = [&](uint32_t context, kernels::CacheType type) {
    return plan_memory(file, model, {.context = context, .cache = type})->cache_bytes();
  };
  EXPECT_EQ(cache(4096, kF16), kGiB * 5 / 4);
  EXPECT_EQ(cache(32768, kF16), kGiB * 10);
  EXPECT_EQ(cache(131072, kF16), kGiB * 40);
  EXPECT_EQ(cache(4096, kQ8_0), kGiB * 5 / 8 * 17 / 16);  // an f16 scale for 32 values
}

TEST(MemoryPlanTerms, explainTheCacheAndAddUp) {
  const gguf::File file =
      *synthetic_model(*find_synthetic_shape("llama-8b"), *find_mix("Q4_K_M"), 1).outline("8b");
  const auto plan = *plan_memory(file, *read_model(file), {.context = 8192, .sequences = 2});
  ASSERT_EQ(plan.cache_terms.size(), 1u);
  const CacheTerms& t = plan.cache_terms[0];
  EXPECT_EQ(t.positions, 16384u);
  EXPECT_EQ(static_cast<double>(t.layers * t.kv_heads * (t.key_width + t.value_width)) *
                t.bytes_per_value * static_cast<double>(t.positions),
            static_cast<double>(t.bytes));
  EXPECT_EQ(t.bytes, plan.cache_bytes());
  EXPECT_EQ(plan.layers.size(), 32u);
  const HeapPlan& host = plan.host();
  EXPECT_EQ(
      host.bytes(Backing::kFile) + host.bytes(Backing::kAnonymous) + host.bytes(Backing::kKernel),
      host.peak());
  EXPECT_LT(host.steady(), host.peak());
  EXPECT_LE(host.bytes("slack"), host.bytes(Backing::kAnonymous) / 100);
}

// The states of a hybrid are where its recurrent layers are.
TEST(MemoryPlanTerms, putRecurrentStatesWhereTheirLayersAre) {
  const gguf::File file =
      *synthetic_model(*find_synthetic_shape("tiny-hybrid"), *find_mix("Q8_0"), 1).outline("h");
  const Model model = *read_model(file);
  EXPECT_GT(plan_memory(file, model, {})->host().bytes("recurrent states"), 0u);
  const auto on = [&](const char* device) {
    return plan_memory(file, model, {.placement = {.devices = {device}, .rules = {}}});
  };
  EXPECT_GT(on("reference")->heaps[1].bytes("recurrent states"), 0u);
  const auto vulkan = on("vulkan:0");
  if (!vulkan) {
    EXPECT_EQ(vulkan.error().code, "no-vulkan");  // of this build
  } else {
    EXPECT_GE(vulkan->heaps[1].bytes("recurrent states"),
              on("reference")->heaps[1].bytes("recurrent states"));
    EXPECT_EQ(vulkan->host().bytes("recurrent states"), 0u);
  }
}

TEST(MemoryPlanTerms, countACopiedFileAsAllocated) {
  const gguf::File file =
      *synthetic_model(*find_synthetic_shape("tiny"), *find_mix("F32"), 1).outline("tiny");
  const auto plan = *plan_memory(file, *read_model(file), {}, gguf::OpenOptions::Access::kRead);
  EXPECT_EQ(plan.host().bytes(Backing::kFile), plan.host().bytes("program"));
  EXPECT_GT(plan.host().bytes(Backing::kAnonymous), file.size_bytes());
}

TEST(MemoryPlanTerms, countALockedFileBesideItsPackedCopy) {
  const gguf::File file =
      *synthetic_model(*find_synthetic_shape("tiny"), *find_mix("Q4_K_M"), 1).outline("tiny");
  const Model model = *read_model(file);
  const auto plan = *plan_memory(file, model, {}, gguf::OpenOptions::Access::kMapLocked);
  EXPECT_EQ(plan.host().bytes("weights"), file.size_bytes());
  EXPECT_GT(plan.host().bytes("packed weights"), 0u);
  EXPECT_LT(plan_memory(file, model, {})->host().bytes("weights"), file.size_bytes());
}

// Nearly all of it is its vocabulary: 68 MiB.
gguf::Writer tall_model(bool tied) {
  const SyntheticShape shape = {"tall", "llama", 1, 1024, 256, 4, 1, 64, 65536, 4096, 10000, tied};
  return synthetic_model(shape, *find_mix("Q8_0"), 1);
}

TEST(MemoryPlanTerms, countATiedEmbeddingOnce) {
  const auto host = [](bool tied, const EngineOptions& options, gguf::OpenOptions::Access access) {
    const gguf::File file = *tall_model(tied).outline("tall");
    return plan_memory(file, *read_model(file), options, access)->host();
  };
  constexpr uint64_t kTable = uint64_t{65536} * 1024 / 32 * 34;
  using enum gguf::OpenOptions::Access;
  EXPECT_GE(host(true, {}, kMap).bytes("packed weights"), kTable);
  EXPECT_LT(host(true, {}, kMap).bytes("weights"), 1u << 20);
  for (const HeapPlan& mapped : {host(false, {}, kMap), host(true, {.weights = kMapped}, kMap),
                                 host(true, {}, kMapLocked), host(true, {}, kRead)}) {
    EXPECT_GE(mapped.bytes("weights"), kTable);
  }
}

// Rows that lie 16 KiB apart, all over the table, are not read where it was mapped.
TEST(MemoryPlanTerms, coverTheRowsOfAnEmbeddingHoweverManyAreRead) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "under a sanitizer nothing is measured";
#endif
  const test::TemporaryFolder folder;
  ASSERT_TRUE(tall_model(true).write(folder.file("tall.gguf")));
  gguf::File file = *gguf::File::open(folder.file("tall.gguf"));
  const EngineOptions options = {.threads = 2, .context = 4096, .check_weights = false};
  const MemoryPlan plan = *plan_memory(file, *read_model(file), options);
  const uint64_t before = kernels::memory_usage()->mapped;
  const auto engine = *Engine::load(std::move(file), options);
  Sequence sequence = engine->new_sequence();
  for (int32_t step = 0; step < 8; ++step) {
    std::vector<Row> rows;
    for (int32_t i = 0; i < 512; ++i) rows.push_back({&sequence, (step * 512 + i) * 16, i == 511});
    ASSERT_TRUE(engine->step(rows, CancelToken{false}));
  }
  const uint64_t measured = kernels::memory_usage()->mapped - before;
  EXPECT_LE(measured, plan.host().bytes("weights") + (2 << 20)) << "2 MiB of the program";
}

}  // namespace
}  // namespace quern::engine
