// Says how fast memory can be read at this moment:
//   meter THREADS      for every line on standard input: one line with bytes/s
// Shared machines change their memory's speed by half within seconds, as neighbours come and go. So
// compare.py asks before and after every run of an engine, and relates the run to what there was to
// have. The answer is the median of passes, as an engine's figure is a median: not the best one.
#include <sys/mman.h>

#include <algorithm>
#include <barrier>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <thread>
#include <vector>

namespace {

constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kBytes = 192 * kHugePage;  // much more than any cache
constexpr int kPasses = 15;

double seconds() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(now).count();
}

// Reads words as four streams side by side; returns something that depends on all of them.
uint64_t read(const uint64_t* words, size_t count) {
  const size_t stream = count / 4;
  uint64_t seen[4][8] = {};
  for (size_t i = 0; i + 8 <= stream; i += 8) {
    for (size_t s = 0; s < 4; ++s) {
      for (size_t j = 0; j < 8; ++j) seen[s][j] |= words[s * stream + i + j];
    }
  }
  uint64_t all = 0;
  for (const auto& part : seen) {
    for (const uint64_t word : part) all |= word;
  }
  return all;
}

double median_bandwidth(std::span<const uint64_t> memory, size_t threads) {
  std::vector<double> times;
  double start = 0;
  std::barrier begin(static_cast<ptrdiff_t>(threads), [&]() noexcept { start = seconds(); });
  std::barrier end(static_cast<ptrdiff_t>(threads),
                   [&]() noexcept { times.push_back(seconds() - start); });
  std::vector<std::jthread> team;
  for (size_t t = 0; t < threads; ++t) {
    team.emplace_back([&, t] {
      const size_t part = memory.size() / threads;
      for (int pass = 0; pass < kPasses; ++pass) {
        begin.arrive_and_wait();
        volatile uint64_t sink = read(memory.data() + t * part, part);
        static_cast<void>(sink);
        end.arrive_and_wait();
      }
    });
  }
  team.clear();  // joins
  std::ranges::nth_element(times, times.begin() + kPasses / 2);
  return static_cast<double>(memory.size_bytes()) / times[kPasses / 2];
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc == 2 ? std::atoi(argv[1]) : 0;
  if (threads < 1) return std::fprintf(stderr, "usage: meter THREADS\n"), 2;
  void* memory = std::aligned_alloc(kHugePage, kBytes);
  if (!memory) return std::fprintf(stderr, "meter: out of memory\n"), 1;
  madvise(memory, kBytes, MADV_HUGEPAGE);
  std::memset(memory, 1, kBytes);
  const std::span words(static_cast<const uint64_t*>(memory), kBytes / sizeof(uint64_t));
  for (int c = std::getchar(); c != EOF; c = std::getchar()) {
    if (c != '\n') continue;
    std::printf("%.0f\n", median_bandwidth(words, static_cast<size_t>(threads)));
    std::fflush(stdout);
  }
}
