#include "kernels/cpu/thread_pool.h"

#include <algorithm>
#include <cassert>

namespace quern::kernels::cpu {
namespace {

// A loop ends within microseconds of the next one starting while tokens are made, so waiting
// threads look for a while before they sleep; bounded, so that a neighbour who needs the core gets
// it.
constexpr int kSpins = 2000;

inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#endif
}

// Blocks until value != old.
void wait_change(const std::atomic<uint32_t>& value, uint32_t old) {
  for (int i = 0; i < kSpins; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    pause();
  }
  value.wait(old, std::memory_order_acquire);
}

}  // namespace

bool ThreadPool::Run::take_first(size_t& item) {
  uint64_t now = items.load(std::memory_order_relaxed);
  do {
    item = now >> 32;
    if (item >= (now & UINT32_MAX)) return false;
  } while (!items.compare_exchange_weak(now, now + (uint64_t{1} << 32), std::memory_order_relaxed));
  return true;
}

bool ThreadPool::Run::take_last(size_t& item) {
  uint64_t now = items.load(std::memory_order_relaxed);
  do {
    item = (now & UINT32_MAX) - 1;
    if (now >> 32 > item || (now & UINT32_MAX) == 0) return false;
  } while (!items.compare_exchange_weak(now, now - 1, std::memory_order_relaxed));
  return true;
}

ThreadPool::ThreadPool(size_t threads) : runs_(std::max<size_t>(threads, 1)) {
  try {
    for (size_t worker = 1; worker < threads; ++worker) {
      workers_.emplace_back([this, worker] { work(worker); });
    }
  } catch (...) {  // the system refused a thread: end those that run
    stop();
    throw;
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() {
  stop_.store(true, std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  for (std::thread& thread : workers_) thread.join();
}

void ThreadPool::run_loop(const Loop& loop) {
  if (workers_.empty() || loop.items <= 1) {
    for (size_t item = 0; item < loop.items; ++item) loop.call(loop.context, item, 0);
    return;
  }
  loop_ = loop;
  assert(loop.items <= UINT32_MAX);
  for (size_t worker = 0; worker < runs_.size(); ++worker) {
    const uint64_t begin = loop.items * worker / runs_.size();
    const uint64_t end = loop.items * (worker + 1) / runs_.size();
    runs_[worker].items.store(begin << 32 | end, std::memory_order_relaxed);
  }
  busy_.store(static_cast<uint32_t>(workers_.size()), std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  take_items(0);
  for (uint32_t left = busy_.load(std::memory_order_acquire); left != 0;
       left = busy_.load(std::memory_order_acquire)) {
    wait_change(busy_, left);
  }
}

void ThreadPool::take_items(size_t worker) {
  size_t item;
  while (runs_[worker].take_first(item)) loop_.call(loop_.context, item, worker);
  for (size_t next = 1; next < runs_.size(); ++next) {
    Run& other = runs_[(worker + next) % runs_.size()];
    while (other.take_last(item)) loop_.call(loop_.context, item, worker);
  }
}

void ThreadPool::work(size_t worker) {
  uint32_t seen = 0;
  for (;;) {
    wait_change(generation_, seen);
    ++seen;
    if (stop_.load(std::memory_order_relaxed)) return;
    take_items(worker);
    if (busy_.fetch_sub(1, std::memory_order_release) == 1) busy_.notify_one();
  }
}

size_t default_threads() {
  const unsigned found = std::thread::hardware_concurrency();
  return found > 0 ? found : 1;
}

}  // namespace quern::kernels::cpu
