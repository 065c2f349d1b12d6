// Work counts against sums done by hand and the figures of the performance spec.
#include "kernels/work.h"

#include <gtest/gtest.h>

#include "engine/model.h"
#include "engine/synthetic_model.h"

namespace quern::kernels {
namespace {

// A synthetic model's program; its weights are never looked at.
struct Synthetic {
  std::vector<std::byte> bytes;
  gguf::File file;
  engine::Model model;

  Synthetic(const char* shape, const char* mix)
      : bytes(*engine::synthetic_model(*engine::find_synthetic_shape(shape), *engine::find_mix(mix),
                                       1)
                   .bytes()),
        file(*gguf::File::from_bytes(bytes, shape)),
        model(*engine::read_model(file)) {}
};

// tiny: 2 layers, width 256, feed-forward 512, 8 heads and 2 KV heads of 32, vocabulary 96.
constexpr double kLayerValues = 256.0 * 256 * 2 + 256.0 * 64 * 2 + 3 * 256.0 * 512;

TEST(Work, decodeReadsEveryMatrixOnce) {
  const Synthetic tiny("tiny", "Q8_0");
  const Work work = work_of(tiny.model.program, CacheType::kF16, {0, 1, 1});
  const double bits = 34.0 / 32;  // bytes per value of Q8_0
  const double weights = (2 * kLayerValues + 256 * 96) * bits;
  const double embedding_row = 256 * bits, cache = 2 * 2 * 64 * 2;
  EXPECT_DOUBLE_EQ(work.bytes, weights + embedding_row + cache);
  EXPECT_DOUBLE_EQ(work.int8_ops, 2 * (2 * kLayerValues + 256 * 96) + 2 * 2 * 8 * 64);
  EXPECT_EQ(work.fp32_ops, 0);
}

TEST(Work, floatMatricesCountAsFloatOperations) {
  const Synthetic tiny("tiny", "F16");
  const Work work = work_of(tiny.model.program, CacheType::kF16, {0, 1, 1});
  EXPECT_DOUBLE_EQ(work.fp32_ops, 2 * (2 * kLayerValues + 256 * 96));
}

TEST(Work, attentionGrowsWithDepthAndOutputOnlyWithLogitRows) {
  const Synthetic tiny("tiny", "Q8_0");
  const kernels::Program& program = tiny.model.program;
  const auto total = [&](Rows rows) { return work_of(program, CacheType::kF32, rows); };
  const double per_position = cache_bytes_per_position(program, CacheType::kF32);
  EXPECT_DOUBLE_EQ(per_position, 2 * 2 * 64 * 4);
  EXPECT_DOUBLE_EQ(total({100, 1, 1}).bytes - total({0, 1, 1}).bytes, 100 * per_position);
  // Rows 0, 1, 2 see 1 + 2 + 3 positions.
  const double attention = 6 * 2 * 2 * 8 * 64;
  EXPECT_DOUBLE_EQ(total({0, 3, 0}).int8_ops, 3 * 2 * 2 * kLayerValues + attention);
  EXPECT_DOUBLE_EQ(total({0, 3, 1}).int8_ops - total({0, 3, 0}).int8_ops, 2 * 256 * 96);
}

TEST(Work, expertsCountOnlyTheActiveOnes) {
  const Synthetic moe("tiny-moe", "Q8_0");
  for (const kernels::Op& op : moe.model.program.ops) {
    if (!std::holds_alternative<kernels::Experts>(op)) continue;
    const double expert = 3 * 256.0 * 256 * 34 / 32, router = 256 * 8 * 4;
    const auto bytes = [&](uint64_t rows) {
      return work_of(op, moe.model.program, CacheType::kF16, {0, rows, 1}).bytes;
    };
    EXPECT_NEAR(bytes(1), 2 * expert + router, 1);
    EXPECT_NEAR(bytes(2), 8 * (1 - 0.75 * 0.75) * expert + router, 1);
    EXPECT_NEAR(bytes(512), 8 * expert + router, 1);
    EXPECT_EQ(label(op, moe.model.program), "experts");
  }
}

TEST(Work, rooflineIsTheSlowerOfMemoryAndArithmetic) {
  kernels::MachineProfile machine;
  machine.read_bandwidth_all = 50e9;
  machine.int8_peak = 2e12;
  machine.fp32_peak = 0.5e12;
  const Roofline decode = roofline({5e9, 1e9, 0}, machine);
  EXPECT_DOUBLE_EQ(decode.seconds(), 0.1);
  const Roofline prefill = roofline({5e9, 1e12, 1e12}, machine);
  EXPECT_DOUBLE_EQ(prefill.seconds(), 2.5);
}

TEST(Work, labelsNameTheWeights) {
  const Synthetic tiny("tiny", "Q8_0");
  std::vector<std::string> labels;
  for (const kernels::Op& op : tiny.model.program.ops) {
    labels.push_back(label(op, tiny.model.program));
  }
  EXPECT_EQ(labels.front(), "embedding");
  EXPECT_EQ(labels[1], "attn_q+attn_k+attn_v");
  EXPECT_EQ(labels.back(), "output");
}

}  // namespace
}  // namespace quern::kernels
