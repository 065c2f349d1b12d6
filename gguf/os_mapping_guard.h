// MappingGuard: reading a mapped file whose pages are gone (the file was truncated, the disk
// failed) must not end the process. POSIX reports such a read as the signal SIGBUS to the reading
// thread.
#pragma once

#include <cstddef>

namespace quern::gguf {

// While it lives, reads of [address, address + size) that the file cannot serve see zeros instead,
// on any thread, and faulted() says so from then on. The range must be one mapping, and stay mapped
// as long as the guard lives. A fault elsewhere keeps the action that was there before.
class MappingGuard {
 public:
  MappingGuard(const void* address, size_t size);
  MappingGuard(const MappingGuard&) = delete;
  MappingGuard& operator=(const MappingGuard&) = delete;
  ~MappingGuard();

  bool faulted() const;

  struct Range;

 private:
  Range* range_;
};

}  // namespace quern::gguf
