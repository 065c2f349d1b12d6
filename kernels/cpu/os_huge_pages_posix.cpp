// huge_pages.h for POSIX systems.
#include <sys/mman.h>

#include <cstdint>
#include <string>

#include "kernels/cpu/huge_pages.h"

namespace quern::kernels::cpu {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

}  // namespace

Result<HugePages> HugePages::allocate(size_t bytes) {
  HugePages pages;
  if (bytes == 0) return pages;
  // One huge page more than needed, then both ends are cut off.
  const size_t size = (bytes + kHugePage - 1) / kHugePage * kHugePage;
  void* address = size < bytes ? MAP_FAILED
                               : ::mmap(nullptr, size + kHugePage, PROT_READ | PROT_WRITE,
                                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (address == MAP_FAILED) {
    return fail(ErrorKind::kFailure, "out-of-memory",
                "cannot allocate " + std::to_string(bytes) + " bytes of memory for weights");
  }
  auto* start = static_cast<std::byte*>(address);
  const size_t skip = (kHugePage - reinterpret_cast<uintptr_t>(start) % kHugePage) % kHugePage;
  if (skip > 0) ::munmap(start, skip);
  if (skip < kHugePage) ::munmap(start + skip + size, kHugePage - skip);
  pages.data_ = start + skip;
  pages.size_ = size;
#ifdef MADV_HUGEPAGE
  ::madvise(pages.data_, size, MADV_HUGEPAGE);  // a hint: errors do not matter
#endif
  return pages;
}

HugePages::~HugePages() {
  if (data_) ::munmap(data_, size_);
}

}  // namespace quern::kernels::cpu
