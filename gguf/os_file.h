// What gguf/ asks of the operating system: read-only file contents and safely replaced files.
// One implementation per system: os_file_SYSTEM.cpp.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "gguf/file.h"
#include "gguf/result.h"

namespace quern::gguf {

// The contents of a file, read-only, for as long as the object lives; or a view of memory that
// belongs to the caller.
class Contents {
 public:
  // Errors: "open", "not-regular"; "read", "map", "lock" when the system refuses later.
  static Result<Contents> open(const std::string& path, const OpenOptions& options);
  static Contents view(std::span<const std::byte> bytes);
  // `start` followed by zeros up to `size` bytes; pages that are never written cost no memory.
  // Errors: "map".
  static Result<Contents> padded(std::span<const std::byte> start, size_t size);

  Contents(Contents&& other) noexcept;
  Contents& operator=(Contents&& other) noexcept;
  ~Contents();

  std::span<const std::byte> bytes() const { return bytes_; }

  // Whether the bytes are still those of the file that was opened. A file may be written to or
  // truncated while it is mapped: what is gone reads as zeros. Error: "file-changed".
  Status check_unchanged() const;
  // Gives the pages of a mapped file that lie within `bytes` back to the system; they are read anew
  // when they are needed. Does nothing for other contents, or for bytes that are not in the file.
  void release(std::span<const std::byte> bytes) const;

 private:
  struct Mapping;
  explicit Contents(std::span<const std::byte> bytes);
  explicit Contents(std::unique_ptr<Mapping> mapping);

  std::span<const std::byte> bytes_;
  std::unique_ptr<Mapping> mapping_;  // none: the memory belongs to the caller
};

// A file that appears under its name only when complete: written beside the target, synced, then
// renamed by commit(). Destroyed without commit, it leaves nothing behind. Errors: "write".
class ReplacedFile {
 public:
  static Result<ReplacedFile> create(const std::string& target);
  ReplacedFile(ReplacedFile&& other) noexcept;
  ReplacedFile& operator=(ReplacedFile&&) = delete;
  ~ReplacedFile();

  Status write(std::span<const std::byte> bytes);
  Status commit();

 private:
  ReplacedFile(int descriptor, std::string target, std::string temporary);

  int descriptor_;
  std::string target_;
  std::string temporary_;
};

}  // namespace quern::gguf
