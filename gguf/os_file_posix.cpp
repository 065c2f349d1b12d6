// os_file.h for POSIX systems.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "gguf/os_file.h"
#include "gguf/os_mapping_guard.h"
#include "gguf/read_ahead.h"

namespace quern::gguf {
namespace {

// An open file.
struct Descriptor {
  int value;
  explicit Descriptor(int fd) : value(fd) {}
  Descriptor(Descriptor&& other) noexcept : value(std::exchange(other.value, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(value, other.value);
    return *this;
  }
  ~Descriptor() {
    if (value >= 0) ::close(value);
  }
};

tl::unexpected<Error> system_error(ErrorKind kind, const char* code, const std::string& path,
                                   std::string what, int error = errno) {
  Error result{kind, code, std::move(what), path, {}, {}, {}, {}};
  result.message += ": " + std::generic_category().message(error);
  result.found = std::generic_category().message(error);
  return tl::unexpected(std::move(result));
}

// A signal waits for a system call to end: what takes seconds is done by several.
constexpr size_t kCallBytes = 16 << 20;

bool lock(const std::byte* address, size_t size) {
  for (size_t done = 0; done < size; done += kCallBytes) {
    if (::mlock(address + done, std::min(size - done, kCallBytes)) != 0) return false;
  }
  return true;
}

// Fills `target` from the start of the file; an error if the file is shorter.
Status read_all(int descriptor, std::byte* target, size_t size, const std::string& path) {
  size_t done = 0;
  while (done < size) {
    const ssize_t n = ::pread(descriptor, target + done, std::min(size - done, kCallBytes),
                              static_cast<off_t>(done));
    if (n > 0) {
      done += static_cast<size_t>(n);
    } else if (n == 0) {
      return system_error(ErrorKind::kFailure, "read", path, "the file shrank while it was read",
                          EIO);
    } else if (errno != EINTR) {
      return system_error(ErrorKind::kFailure, "read", path, "cannot read");
    }
  }
  return {};
}

// Address space for a file; nullptr if there is none.
void* map(size_t size, int protection, int flags, int descriptor) {
  void* address = ::mmap(nullptr, size, protection, MAP_PRIVATE | flags, descriptor, 0);
  return address == MAP_FAILED ? nullptr : address;
}

tl::unexpected<Error> no_address_space(const std::string& path, size_t size) {
  return system_error(ErrorKind::kFailure, "map", path,
                      "cannot get " + std::to_string(size) + " bytes of address space");
}

bool same_content(const struct stat& a, const struct stat& b) {
  return a.st_size == b.st_size && a.st_mtim.tv_sec == b.st_mtim.tv_sec &&
         a.st_mtim.tv_nsec == b.st_mtim.tv_nsec;
}

}  // namespace

// Memory of our own: a mapped file, which is kept open to see whether it changes, or a copy.
struct Contents::Mapping {
  void* address;
  size_t size;
  Descriptor file{-1};  // of a mapped file
  struct stat status = {};
  std::optional<MappingGuard> guard;

  Mapping(void* memory, size_t bytes) : address(memory), size(bytes) {}
  Mapping(Mapping&&) = delete;
  ~Mapping() {
    guard.reset();
    ::munmap(address, size);
  }
};

Contents::Contents(std::span<const std::byte> bytes) : bytes_(bytes) {}
Contents::Contents(std::unique_ptr<Mapping> mapping)
    : bytes_(static_cast<const std::byte*>(mapping->address), mapping->size),
      mapping_(std::move(mapping)) {}
Contents::Contents(Contents&&) noexcept = default;
Contents& Contents::operator=(Contents&&) noexcept = default;
Contents::~Contents() = default;

Contents Contents::view(std::span<const std::byte> bytes) { return Contents(bytes); }

Result<Contents> Contents::open(const std::string& path, const OpenOptions& options) {
  // O_NONBLOCK: opening a pipe must report "not a regular file" instead of waiting for a writer.
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  struct stat status;
  if (file.value < 0 || ::fstat(file.value, &status) != 0) {
    return system_error(ErrorKind::kBadInput, "open", path, "cannot open");
  }
  if (!S_ISREG(status.st_mode)) {
    Error error{ErrorKind::kBadInput, "not-regular", "not a regular file", path, {}, {}, {}, {}};
    return tl::unexpected(std::move(error));
  }
  const size_t size = static_cast<size_t>(status.st_size);
  if (size == 0) return view({});

  const bool copy = options.access == OpenOptions::Access::kRead;
  void* address = copy ? map(size, PROT_READ | PROT_WRITE, MAP_ANONYMOUS, -1)
                       : map(size, PROT_READ, 0, file.value);
  if (!address) return no_address_space(path, size);
  auto mapping = std::make_unique<Mapping>(address, size);
  if (copy) {
    QUERN_CHECK(read_all(file.value, static_cast<std::byte*>(address), size, path));
    ::mprotect(address, size, PROT_READ);  // a stray write should fault; failing to is harmless
    return Contents(std::move(mapping));
  }
  mapping->guard.emplace(address, size);
  mapping->status = status;
  mapping->file = std::move(file);
  if (options.access == OpenOptions::Access::kMapLocked &&
      !lock(static_cast<const std::byte*>(address), size)) {
    return system_error(ErrorKind::kFailure, "lock", path,
                        "cannot lock " + std::to_string(size) +
                            " bytes in memory (raise the limit with ulimit -l, or do not lock)");
  }
  if (options.prefetch) ::madvise(address, size, MADV_WILLNEED);  // a hint: errors do not matter
  return Contents(std::move(mapping));
}

Result<Contents> Contents::padded(std::span<const std::byte> start, size_t size) {
  void* address = map(size, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_NORESERVE, -1);
  if (!address) return no_address_space({}, size);
  auto mapping = std::make_unique<Mapping>(address, size);
  std::memcpy(address, start.data(), start.size());
  return Contents(std::move(mapping));
}

void read_ahead(std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(bytes.data());
  const uintptr_t first = begin / page * page;
  ::madvise(reinterpret_cast<void*>(first), begin + bytes.size() - first, MADV_WILLNEED);
}

Status Contents::check_unchanged() const {
  if (!mapping_ || !mapping_->guard) return {};
  struct stat now;
  const bool same = !mapping_->guard->faulted() && ::fstat(mapping_->file.value, &now) == 0 &&
                    same_content(now, mapping_->status);
  if (same) return {};
  return fail(ErrorKind::kFailure, "file-changed",
              "the file was changed or truncated while it was in use; load it again");
}

void Contents::release(std::span<const std::byte> bytes) const {
  if (!mapping_ || !mapping_->guard) return;
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto file_begin = reinterpret_cast<uintptr_t>(mapping_->address);
  const auto begin = reinterpret_cast<uintptr_t>(bytes.data());
  if (begin < file_begin || begin + bytes.size() > file_begin + mapping_->size) return;
  const uintptr_t first = (begin + page - 1) / page * page;
  const uintptr_t last = (begin + bytes.size()) / page * page;
  // A hint: errors (locked pages) do not matter.
  if (first < last) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

Result<ReplacedFile> ReplacedFile::create(const std::string& target) {
  struct stat status;
  if (::stat(target.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) {
    return system_error(ErrorKind::kBadInput, "write", target, "cannot write: not a regular file",
                        EINVAL);
  }
  // O_EXCL: never follow a link or reuse a file that someone else put there.
  for (int attempt = 0; attempt < 100; ++attempt) {
    std::string temporary =
        target + ".partial-" + std::to_string(::getpid()) + "-" + std::to_string(attempt);
    const int descriptor = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor >= 0) return ReplacedFile(descriptor, target, std::move(temporary));
    if (errno != EEXIST) break;
  }
  return system_error(ErrorKind::kFailure, "write", target, "cannot create");
}

ReplacedFile::ReplacedFile(int descriptor, std::string target, std::string temporary)
    : descriptor_(descriptor), target_(std::move(target)), temporary_(std::move(temporary)) {}

ReplacedFile::ReplacedFile(ReplacedFile&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)),
      target_(std::move(other.target_)),
      temporary_(std::exchange(other.temporary_, {})) {}

ReplacedFile::~ReplacedFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

Status ReplacedFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(descriptor_, bytes.data(), bytes.size());
    if (n >= 0) {
      bytes = bytes.subspan(static_cast<size_t>(n));
    } else if (errno != EINTR) {
      return system_error(ErrorKind::kFailure, "write", target_, "cannot write");
    }
  }
  return {};
}

Status ReplacedFile::commit() {
  if (::fsync(descriptor_) != 0 || ::close(std::exchange(descriptor_, -1)) != 0 ||
      ::rename(temporary_.c_str(), target_.c_str()) != 0) {
    return system_error(ErrorKind::kFailure, "write", target_, "cannot write");
  }
  temporary_.clear();
  // The new name is safe only when the folder is on disk too; some file systems cannot do that.
  const std::string folder = std::filesystem::path(target_).parent_path().string();
  const Descriptor directory(
      ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.value >= 0) ::fsync(directory.value);
  return {};
}

}  // namespace quern::gguf
