#include "bench/core_clock.h"

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace quern::bench {
namespace {

constexpr int kRounds = 1 << 16;
constexpr int kTries = 4;

// A value that the compiler cannot know: it keeps every operation on it.
inline void hide(uint64_t& value) { asm volatile("" : "+r"(value)); }

// 16 exclusive ors, each waiting for the one before: one cycle each on every processor we know.
// (Additions would do on most, but some cores fold chains of them.)
inline void sixteen_cycles(uint64_t& value, uint64_t mask) {
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) {
    value ^= mask;
    hide(value);
  }
}

}  // namespace

double core_hertz() {
  uint64_t value = 1, mask = 3;
  hide(mask);
  double best = 0;
  for (int i = 0; i < kTries; ++i) {
    const auto start = std::chrono::steady_clock::now();
    for (int round = 0; round < kRounds; ++round) sixteen_cycles(value, mask);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    best = std::max(best, 16.0 * kRounds / took.count());
  }
  return best;
}

}  // namespace quern::bench
