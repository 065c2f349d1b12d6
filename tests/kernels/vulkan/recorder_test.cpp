// Barriers: where the recorder puts them, and that the check notices each one that is missing.
#include "kernels/vulkan/recorder.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "shaders/shared.h"
#include "tests/kernels/vulkan/test_device.h"

namespace quern::kernels::vulkan {
namespace {

// A buffer of four parts of 8 floats that select_rows copies among themselves, two rows of 4 floats
// at a time, in the order 0, 1.
class RecorderTest : public ::testing::Test {
 protected:
  static constexpr uint32_t kWidth = 4, kRows = 2, kPart = kWidth * kRows;

  uint64_t part(uint32_t i) const { return memory.address() + i * kPart * sizeof(float); }
  Range range(uint32_t i) const { return {part(i), kPart * sizeof(float)}; }

  void copy(Recorder& recorder, uint32_t from, uint32_t to) {
    const Kernel* kernel = *device.kernel("select_rows");
    const shaders::SelectRowsPush push = {part(from), order.address(), part(to), kWidth, 0};
    recorder.dispatch(*kernel, push, {.x = 1, .y = kRows}, {{range(from)}, {range(to)}});
  }

  size_t barriers(const Recorder& recorder) {
    return std::ranges::count(recorder.steps(), true, &Step::barrier);
  }

  Device& device = test::vulkan_device();
  Buffer memory = test::vulkan_buffer<float>({1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2,
                                              3, 3, 3, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4});
  Buffer order = test::vulkan_buffer<uint32_t>({0, 1});
};

TEST_F(RecorderTest, independentDispatchesShareAStage) {
  ASSERT_TRUE(device.run([&](VkCommandBuffer commands) {
    Recorder recorder(device, commands);
    copy(recorder, 0, 1);
    copy(recorder, 0, 2);
    EXPECT_EQ(barriers(recorder), 0u);
  }));
}

TEST_F(RecorderTest, separatesEveryKindOfConflict) {
  ASSERT_TRUE(device.run([&](VkCommandBuffer commands) {
    Recorder recorder(device, commands);
    copy(recorder, 0, 1);
    copy(recorder, 1, 2);  // reads what was written
    EXPECT_EQ(barriers(recorder), 1u);
    copy(recorder, 3, 1);  // writes what is read
    EXPECT_EQ(barriers(recorder), 2u);
    copy(recorder, 0, 1);  // writes what is written
    EXPECT_EQ(barriers(recorder), 3u);
  }));
  EXPECT_EQ(test::vulkan_values<float>(memory, 4 * kPart)[1 * kPart], 1);
  EXPECT_EQ(test::vulkan_values<float>(memory, 4 * kPart)[2 * kPart], 1);
}

TEST_F(RecorderTest, theCheckNoticesEachMissingBarrier) {
  std::vector<Step> steps;
  ASSERT_TRUE(device.run([&](VkCommandBuffer commands) {
    Recorder recorder(device, commands);
    for (const auto& [from, to] : {std::pair{0, 1}, {0, 2}, {1, 3}, {2, 0}, {3, 2}, {0, 3}}) {
      copy(recorder, static_cast<uint32_t>(from), static_cast<uint32_t>(to));
    }
    steps = recorder.steps();
  }));
  EXPECT_FALSE(find_hazard(steps));
  size_t removed = 0;
  for (size_t i = 0; i < steps.size(); ++i) {
    if (!steps[i].barrier) continue;
    std::vector<Step> without = steps;
    without.erase(without.begin() + static_cast<ptrdiff_t>(i));
    EXPECT_TRUE(find_hazard(without)) << "barrier at " << i;
    ++removed;
  }
  EXPECT_GE(removed, 2u);
}

TEST(Range, neighboursDoNotOverlap) {
  EXPECT_FALSE((Range{0, 16}.overlaps({16, 16})));
  EXPECT_FALSE((Range{16, 16}.overlaps({0, 16})));
  EXPECT_TRUE((Range{0, 17}.overlaps({16, 16})));
}

}  // namespace
}  // namespace quern::kernels::vulkan
