// ThreadPool: a fixed team of threads that runs one parallel loop after another.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <type_traits>
#include <vector>

namespace quern::kernels::cpu {

// The calling thread is worker 0; `threads - 1` more are started once and sleep between loops.
// Every worker starts with a run of neighbouring items, so that it reads memory in one stream; one
// that is done takes single items from the end of the others' runs, because on a virtual machine a
// core can be taken away at any time. A result must therefore never depend on which worker made it.
class ThreadPool {
 public:
  explicit ThreadPool(size_t threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  size_t threads() const { return workers_.size() + 1; }

  // Calls body(item, worker) once for every item in [0, items), worker < threads(), and returns
  // when all calls are done; writes made by the calls are visible afterwards. Not reentrant.
  template <typename Body>
  void run(size_t items, Body&& body) {
    using Plain = std::remove_reference_t<Body>;
    run_loop({items,
              [](void* context, size_t item, size_t worker) {
                (*static_cast<Plain*>(context))(item, worker);
              },
              const_cast<void*>(static_cast<const void*>(&body))});
  }

 private:
  struct Loop {
    size_t items = 0;
    void (*call)(void*, size_t, size_t) = nullptr;
    void* context = nullptr;
  };

  void stop();
  void run_loop(const Loop& loop);
  void work(size_t worker);
  void take_items(size_t worker);

  // Items [begin, end) that nobody has taken, as begin << 32 | end.
  struct alignas(64) Run {
    std::atomic<uint64_t> items{0};

    bool take_first(size_t& item);
    bool take_last(size_t& item);
  };

  Loop loop_;
  std::vector<Run> runs_;                // per worker
  std::atomic<uint32_t> generation_{0};  // raised to start a loop
  std::atomic<uint32_t> busy_{0};        // workers that have not finished the current loop
  std::atomic<bool> stop_{false};
  std::vector<std::thread> workers_;
};

// Processors this process may use (at least 1): the default team size.
size_t default_threads();

}  // namespace quern::kernels::cpu
