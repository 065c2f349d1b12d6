// Predicted speeds against sums by hand.
#include "engine/plan_speed.h"

#include <gtest/gtest.h>

#include "engine/memory_plan.h"
#include "engine/synthetic_model.h"

namespace quern::engine {
namespace {

using gguf::Format;

struct PlanSpeed : ::testing::Test {
  gguf::File file =
      *synthetic_model(*find_synthetic_shape("llama-1b"), *find_mix("Q8_0"), 0).outline("test");
  Model model = *read_model(file);
  EngineOptions options = [] {
    EngineOptions all;
    all.threads = 2;
    all.context = 4096;
    return all;
  }();
  // 20 GB/s of weights when memory gave 25.
  MachineSpeeds machine = [] {
    MachineSpeeds all;
    all.peaks.read_bandwidth_all = 30e9;
    all.peaks.fp32_peak = 1e12;
    all.cpu.formats[Format::Q8_0] = {20e9, 1e12, 25e9};
    all.reads = {25e9};
    return all;
  }();

  Speed speed(uint32_t positions = 0) const {
    return *predict_speed(model, options, machine, positions);
  }
};

// 1.236 billion values in matrices, the embedding among them as it is the output matrix too, each
// 34/32 bytes.
constexpr double kMatrixBytes =
    34.0 / 32 * (128256.0 * 2048 + 16 * (2 * 2048.0 * 2048 + 2 * 512.0 * 2048 + 3 * 8192.0 * 2048));

TEST_F(PlanSpeed, decodeReadsEveryMatrixOnce) {
  EXPECT_NEAR(speed().decode, 20e9 / kMatrixBytes, 1e-3 * 20e9 / kMatrixBytes);
}

TEST_F(PlanSpeed, decodeFollowsTheMemory) {
  const double before = speed().decode;
  machine.reads = {12.5e9};
  // 50 ps of memory at 20 GB/s were 40 of memory and 10 of the kernel: now 80 and 10.
  EXPECT_NEAR(speed().decode, before * 50 / 90, 1e-3 * before);
  machine.cpu.formats[Format::Q8_0].read_bandwidth = 0;  // nobody looked when it was measured
  EXPECT_NEAR(speed().decode, before, 1e-2 * before);
}

TEST_F(PlanSpeed, theLatestLookCountsAsMuchAsTheMeanOfAll) {
  machine.reads = {10e9, 30e9, 50e9};
  EXPECT_DOUBLE_EQ(machine.expected_read(), (50e9 + 30e9) / 2);
  machine.reads = {};
  EXPECT_DOUBLE_EQ(machine.expected_read(), 30e9);  // the peak
}

TEST_F(PlanSpeed, rangesCoverTheMemoryThatWasSeenAndTheModelsError) {
  const Speed one = speed();
  EXPECT_DOUBLE_EQ(one.decode_range.low, one.decode * (1 - Speed::kMeasured));
  EXPECT_DOUBLE_EQ(one.decode_range.high, one.decode * (1 + Speed::kMeasured));
  machine.reads = {50e9, 12.5e9, 21.875e9};  // half of 21.875 and half of 28.125
  const Speed all = speed();
  EXPECT_DOUBLE_EQ(all.decode, one.decode);
  EXPECT_NEAR(all.decode_range.low, one.decode_range.low * 50 / 90, 1e-2);
  EXPECT_NEAR(all.decode_range.high, one.decode_range.high * 50 / 30, 1e-1);
  EXPECT_DOUBLE_EQ(all.prefill_range.high, one.prefill_range.high);
}

TEST_F(PlanSpeed, aFullContextIsReadToo) {
  // 16 layers, 8 heads, 64 + 64 values of two bytes, at half of the memory's rate.
  const double cache = 16.0 * 8 * 128 * 2 * 4097 / 12.5e9;
  EXPECT_NEAR(1 / speed(4096).decode - 1 / speed().decode, cache, 1e-2 * cache);
}

TEST_F(PlanSpeed, isNotKnownWithoutRates) {
  machine.cpu.formats.clear();
  EXPECT_FALSE(predict_speed(model, options, machine, 0));
}

}  // namespace
}  // namespace quern::engine
