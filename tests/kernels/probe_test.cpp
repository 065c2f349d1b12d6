#include "kernels/probe.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/kernels/targets.h"

namespace quern::kernels {
namespace {

constexpr ProbeEffort kLittle = {.bytes = 4 << 20, .rounds = 1000, .seconds = 0};

TEST(Probe, measuresEveryFigureOnEveryInstructionSet) {
  test::for_each_instruction_set([](bool) {
    const MachineProfile profile = probe(2, kLittle);
    EXPECT_FALSE(profile.cpu.empty());
    EXPECT_EQ(profile.threads, 2u);
    for (const double figure : {profile.read_bandwidth_one, profile.read_bandwidth_all,
                                profile.int8_peak, profile.fp32_peak}) {
      EXPECT_TRUE(std::isfinite(figure));
      EXPECT_GT(figure, 1e6);
    }
  });
}

TEST(Probe, usesAllProcessorsWhenNotTold) { EXPECT_GE(probe(0, kLittle).threads, 1u); }

TEST(Probe, oneThreadHasOneBandwidth) {
  const MachineProfile profile = probe(1, kLittle);
  EXPECT_EQ(profile.read_bandwidth_one, profile.read_bandwidth_all);
}

TEST(Probe, worksWithMoreThreadsThanProcessors) { EXPECT_EQ(probe(9, kLittle).threads, 9u); }

TEST(Probe, looksAtTheMemoryAgainAndAgain) {
  const MemoryReader reader(2);
  for (int look = 0; look < 2; ++look) {
    const double bytes = reader.look(0);
    EXPECT_GT(bytes, 1e7);
    EXPECT_LT(bytes, 1e13);
  }
}

TEST(Probe, hasNoBandwidthWithoutMemory) {
  EXPECT_EQ(probe(1, {.bytes = 0, .rounds = 1, .seconds = 0}).read_bandwidth_one, 0);
}

}  // namespace
}  // namespace quern::kernels
