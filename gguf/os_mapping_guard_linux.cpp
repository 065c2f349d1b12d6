#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <mutex>

#include "gguf/os_mapping_guard.h"

namespace quern::gguf {

// A guarded range, or a free entry (begin 0). The handler may look at an entry at any moment, so
// entries live forever and are used again.
struct MappingGuard::Range {
  std::atomic<uintptr_t> begin{0}, end{0};
  std::atomic<bool> faulted{false};
  Range* next = nullptr;  // never changes once the entry is in the list
};

namespace {

using Range = MappingGuard::Range;

std::atomic<Range*> ranges{nullptr};
static_assert(std::atomic<uintptr_t>::is_always_lock_free &&
              std::atomic<Range*>::is_always_lock_free && std::atomic<bool>::is_always_lock_free);
struct sigaction previous;
uintptr_t page_bytes;

Range* find(uintptr_t address) {
  for (Range* range = ranges.load(std::memory_order_acquire); range; range = range->next) {
    const uintptr_t begin = range->begin.load(std::memory_order_acquire);
    if (begin != 0 && address >= begin && address < range->end.load(std::memory_order_relaxed)) {
      return range;
    }
  }
  return nullptr;
}

// The system call itself: what a C library or a sanitizer adds to mmap has no place in a handler.
bool map_zeros(uintptr_t address, size_t size) {
  return ::syscall(SYS_mmap, address, size, PROT_READ,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != -1;
}

// Runs on the thread that read. Only atomics and system calls: it may have interrupted anything.
void on_fault(int, siginfo_t* info, void*) {
  const int saved_errno = errno;
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  Range* range = find(address);
  // Zeros from the lost page to the end of the range: what comes from this file is worthless now,
  // and one fault is quicker than one for each page.
  const uintptr_t page = address / page_bytes * page_bytes;
  if (range) range->faulted.store(true, std::memory_order_release);
  if (!range || !map_zeros(page, range->end.load(std::memory_order_relaxed) - page)) {
    // Not ours: the read is tried again and meets whoever handled faults before.
    ::sigaction(SIGBUS, &previous, nullptr);
  }
  errno = saved_errno;
}

void install_once() {
  static std::once_flag once;
  std::call_once(once, [] {
    page_bytes = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
    struct sigaction action = {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO;
    ::sigaction(SIGBUS, &action, &previous);
  });
}

// A free entry, or a new one.
Range* take_entry() {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  for (Range* range = ranges.load(); range; range = range->next) {
    if (range->end.load() == 0) {
      range->end.store(1);  // taken, but empty until begin is set
      return range;
    }
  }
  auto* range = new Range;
  range->end.store(1);
  range->next = ranges.load();
  ranges.store(range, std::memory_order_release);
  return range;
}

}  // namespace

MappingGuard::MappingGuard(const void* address, size_t size) : range_(nullptr) {
  install_once();
  range_ = take_entry();
  const auto begin = reinterpret_cast<uintptr_t>(address);
  range_->faulted.store(false);
  range_->end.store(begin + size);
  range_->begin.store(begin, std::memory_order_release);
}

MappingGuard::~MappingGuard() {
  range_->begin.store(0);
  range_->end.store(0);
}

bool MappingGuard::faulted() const { return range_->faulted.load(std::memory_order_acquire); }

}  // namespace quern::gguf
