// What the operating system says about memory: how much there is, and what this process uses. One
// implementation per system: os_memory_SYSTEM.cpp.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace quern::kernels {

struct SystemMemory {
  uint64_t total;      // bytes of the machine, or of the address space if that is the limit
  uint64_t available;  // bytes this process may still take without swapping; the page cache of
                       // files counts as available
  std::string limit;   // what sets `available`: "this machine", "its control group",
                       // "its address space (ulimit -v)"
};
// nullopt where the system does not say.
std::optional<SystemMemory> system_memory();

// Bytes of address space that this process may still take; nullopt where that is not limited.
std::optional<uint64_t> address_space_room();

struct MemoryUsage {
  uint64_t anonymous;    // resident bytes that no file backs
  uint64_t mapped;       // resident bytes of mapped files
  uint64_t peak;         // the most that both together have been
  uint64_t page_tables;  // the kernel's tables for this process
};
// nullopt where the system does not say, and under a sanitizer.
std::optional<MemoryUsage> memory_usage();

}  // namespace quern::kernels
