// What the probe asks of the operating system.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace quern::kernels {

// Name of the processor, "unknown" where the system does not tell.
std::string cpu_name();

// Logical processors that this process may use, one of every core before any second thread of a
// core. Never empty.
std::vector<int> usable_processors();

// Keeps the calling thread on one logical processor; false if the system refuses.
bool pin_this_thread(int processor);

// Zeroed memory of its own, in huge pages where the system gives them.
class PageBuffer {
 public:
  explicit PageBuffer(size_t bytes);  // data() is null when there is not enough memory
  ~PageBuffer();
  PageBuffer(const PageBuffer&) = delete;
  PageBuffer& operator=(const PageBuffer&) = delete;

  std::byte* data() const { return data_; }

 private:
  size_t bytes_;
  std::byte* data_;
};

}  // namespace quern::kernels
