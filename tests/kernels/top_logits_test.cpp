// The best logits of a row by a backend, against sorting.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "kernels/backend.h"

namespace quern::kernels {
namespace {

// Gives the same logits whatever is asked.
class Fixed final : public Executable {
 public:
  explicit Fixed(std::vector<float> logits) : logits_(std::move(logits)) {}
  Result<std::span<const float>> run(const Batch&, const std::atomic<bool>&) override {
    return logits_;
  }

 private:
  std::vector<float> logits_;
};

TEST(TopLogits, areThoseThatSortingFinds) {
  constexpr uint32_t kWidth = 1000, kIds = 990;
  std::mt19937 random(3);
  std::vector<float> logits(2 * kWidth);
  for (float& logit : logits) logit = static_cast<float>(random() % 300) - 150;  // with ties
  logits[17] = NAN;
  logits[500] = INFINITY;
  logits[kIds] = logits[kWidth - 1] = INFINITY;  // padding
  std::fill_n(logits.begin() + kWidth + 10, 900, NAN);
  Fixed executable(logits);
  const std::vector<uint32_t> rows = {0, 1};
  const std::atomic<bool> never{false};
  Batch batch;
  batch.logit_rows = rows;
  for (const uint32_t count : {1u, 40u, 256u}) {
    const auto best = executable.run_top(batch, {count, kIds}, never);
    ASSERT_TRUE(best);
    ASSERT_EQ(best->size(), 2 * count);
    for (uint32_t row = 0; row < 2; ++row) {
      const float* own = &logits[row * kWidth];
      std::vector<uint32_t> order(kIds);
      std::iota(order.begin(), order.end(), 0);
      std::ranges::stable_sort(order, [&](uint32_t a, uint32_t b) {
        if (std::isnan(own[b])) return !std::isnan(own[a]);
        return own[a] > own[b];
      });
      for (uint32_t i = 0; i < count; ++i) {
        ASSERT_EQ((*best)[row * count + i].id, order[i]) << row << ' ' << i << " of " << count;
      }
    }
  }
}

}  // namespace
}  // namespace quern::kernels
