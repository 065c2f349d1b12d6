// A hint for files that are read from a disk.
#pragma once

#include <cstddef>
#include <span>

namespace quern::gguf {

// Asks the system to start reading these bytes of a mapped file; does not wait for them. Bytes that
// are not of a file stay as they are. os_file_SYSTEM.cpp.
void read_ahead(std::span<const std::byte> bytes);

}  // namespace quern::gguf
