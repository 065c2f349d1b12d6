// AlignedBuffer: zeroed memory whose pages are only taken from the system when they are touched.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>

#include "gguf/result.h"

namespace quern::kernels::cpu {

class AlignedBuffer {
 public:
  static constexpr size_t kAlignment = 64;  // a cache line, and the widest vector

  AlignedBuffer() = default;

  // `count` parts of `bytes` each. Errors: "out-of-memory", also if the product is no size_t.
  static Result<AlignedBuffer> allocate(size_t bytes, size_t count = 1) {
    AlignedBuffer buffer;
    if (bytes == 0 || count <= (SIZE_MAX - kAlignment) / bytes) {
      buffer.memory_.reset(std::calloc(bytes * count + kAlignment, 1));
    }
    if (!buffer.memory_) {
      return fail(ErrorKind::kFailure, "out-of-memory",
                  "cannot allocate " + (count > 1 ? std::to_string(count) + " times " : "") +
                      std::to_string(bytes) + " bytes of memory");
    }
    buffer.size_ = bytes * count;
    return buffer;
  }

  std::byte* data() const {
    const auto address = reinterpret_cast<uintptr_t>(memory_.get());
    const size_t skip = (kAlignment - address % kAlignment) % kAlignment;
    return static_cast<std::byte*>(memory_.get()) + skip;
  }
  size_t size() const { return size_; }

 private:
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  std::unique_ptr<void, Free> memory_;
  size_t size_ = 0;
};

constexpr size_t align_up(size_t bytes, size_t alignment = AlignedBuffer::kAlignment) {
  return (bytes + alignment - 1) / alignment * alignment;
}

}  // namespace quern::kernels::cpu
