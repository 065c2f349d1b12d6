// What happens to weights before the first token: they are read ahead of their use and checked, and
// whoever waits is told how far that is and can end it.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <span>

#include "gguf/file.h"

namespace quern::engine {

// How far loading is.
class LoadProgress {
 public:
  // `passes` over the bytes of all weights are to come. `observer` is EngineOptions::progress.
  LoadProgress(std::function<bool(double)> observer, std::span<const gguf::TensorView> weights,
               uint64_t passes);

  void add(uint64_t bytes) { done_ += bytes; }  // on any thread
  bool stopped() const { return stopped_; }     // on any thread
  // Tells the observer, on the thread that loads. Returns whether to go on.
  bool report();

 private:
  std::function<bool(double)> observer_;
  uint64_t total_ = 0;
  std::atomic<uint64_t> done_{0};
  std::atomic<bool> stopped_{false};
};

// Looks at all weights on `threads` threads. `keep`: their pages stay in memory for who reads them
// next. Errors: "weights-corrupt" with the first corrupt one, "cancelled".
Status check_weights(const gguf::File& file, std::span<const gguf::TensorView> weights,
                     size_t threads, bool keep, LoadProgress& progress);

}  // namespace quern::engine
