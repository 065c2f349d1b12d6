#include "kernels/cpu/thread_pool.h"

#include <gtest/gtest.h>

#include <vector>

namespace quern::kernels::cpu {
namespace {

TEST(ThreadPool, runsEveryItemExactlyOnce) {
  for (const size_t threads : {1, 2, 3, 7}) {
    ThreadPool pool(threads);
    for (const size_t items : {0, 1, 2, 100, 1000}) {
      std::vector<int> calls(items, 0);
      pool.run(items, [&](size_t item, size_t worker) {
        ASSERT_LT(worker, pool.threads());
        ++calls[item];
      });
      for (const int count : calls) ASSERT_EQ(count, 1);
    }
  }
}

TEST(ThreadPool, writesOfOneLoopAreVisibleToTheNext) {
  ThreadPool pool(4);
  std::vector<int> values(64, 0);
  for (int round = 0; round < 500; ++round) {
    pool.run(values.size(), [&](size_t item, size_t) { ++values[item]; });
  }
  for (const int value : values) ASSERT_EQ(value, 500);
}

}  // namespace
}  // namespace quern::kernels::cpu
