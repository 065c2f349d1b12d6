// Memory on huge pages. One implementation per system: os_huge_pages_SYSTEM.cpp.
#pragma once

#include <cstddef>
#include <utility>

#include "gguf/result.h"

namespace quern::kernels::cpu {

// Zeroed memory on huge pages where the system has them: weights are read from end to end for every
// token, and each small page would cost a walk of the page table.
class HugePages {
 public:
  HugePages() = default;
  // Errors: "out-of-memory".
  static Result<HugePages> allocate(size_t bytes);
  HugePages(HugePages&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  HugePages& operator=(HugePages&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~HugePages();

  std::byte* data() const { return data_; }  // 2 MiB aligned
  size_t size() const { return size_; }

 private:
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace quern::kernels::cpu
