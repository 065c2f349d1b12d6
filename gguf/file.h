// File: a GGUF model file (or a set of split files), parsed and checked completely before anything
// of it is used. Format and checks: docs/gguf.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/format.h"
#include "gguf/result.h"

namespace quern::gguf {

enum class ValueType : uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64,
};
std::string_view name(ValueType type);  // "u8"
uint64_t scalar_bytes(ValueType type);  // 0 for strings and arrays, whose size varies

// A metadata value: a view into the file. Getters convert between integer widths and between
// numbers where no information is lost, and return nullopt when the value is of another kind.
class Value {
 public:
  ValueType type() const;
  std::optional<uint64_t> as_u64() const;  // any integer type, if not negative
  std::optional<int64_t> as_i64() const;   // any integer type, if it fits
  std::optional<double> as_f64() const;    // f32, f64 or any integer
  std::optional<bool> as_bool() const;     // bool only
  std::optional<std::string_view> as_string() const;

  // Arrays. size() is 0 for scalars. Nested arrays can be counted but not read.
  ValueType element_type() const;
  size_t size() const;
  // An element as a value of its own; nullopt past the end and for nested arrays.
  std::optional<Value> at(size_t index) const;
  std::optional<uint64_t> u64_at(size_t index) const;
  std::optional<int64_t> i64_at(size_t index) const;
  std::optional<double> f64_at(size_t index) const;
  std::optional<bool> bool_at(size_t index) const;
  std::optional<std::string_view> string_at(size_t index) const;

  // The value as the file stores it: the scalar, the text of a string, or all elements of an array.
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  friend class Parser;
  ValueType type_ = ValueType::kU8;
  ValueType element_type_ = ValueType::kU8;
  size_t size_ = 0;  // array elements
  std::span<const std::byte> bytes_;
  const uint64_t* offsets_ = nullptr;  // string arrays: start of each length prefix in bytes_;
                                       // belongs to the File
};

struct MetadataEntry {
  std::string_view key;
  Value value;
};

// A tensor's place in the mapping; owns nothing.
struct TensorView {
  std::string_view name;
  Format format = Format::F32;
  std::array<uint64_t, 4> shape = {1, 1, 1, 1};  // values per dimension, innermost first
  uint32_t dims = 0;                             // dimensions written in the file
  std::span<const std::byte> bytes;              // row_bytes() * rows(), tightly packed

  uint64_t row_values() const { return shape[0]; }
  uint64_t rows() const { return shape[1] * shape[2] * shape[3]; }
  uint64_t elements() const { return row_values() * rows(); }
  uint64_t row_bytes() const { return info(format).row_bytes(shape[0]); }
};

// A tensor of plain numbers that nothing multiplies (index tables, checksums, test data). Kept
// apart from the weights, so that a kernel never meets one.
enum class NumberType : uint8_t { kI8, kI16, kI32, kI64, kF64 };
struct NumberTypeInfo {
  std::string_view name;  // "i32"
  uint32_t type_id;       // as the file stores it
  uint32_t bytes;         // per value
};
const NumberTypeInfo& info(NumberType type);

struct NumberTensorView {
  std::string_view name;
  NumberType type = NumberType::kI8;
  std::array<uint64_t, 4> shape = {1, 1, 1, 1};
  uint32_t dims = 0;
  std::span<const std::byte> bytes;  // little-endian values, tightly packed, perhaps unaligned

  uint64_t elements() const { return shape[0] * shape[1] * shape[2] * shape[3]; }
};

struct OpenOptions {
  enum class Access {
    kMap,        // map the file (default)
    kMapLocked,  // map and lock in memory (mlock)
    kRead,       // copy the file into anonymous memory
  };
  Access access = Access::kMap;
  bool prefetch = false;  // ask the system to start reading the whole file now
};

class Contents;  // os_file.h

class File {
 public:
  // Opens one file, or all parts when `path` is part of a split model. On success every key, string
  // and tensor is inside the file and consistent. Errors: every code of docs/gguf.md.
  static Result<File> open(const std::string& path, const OpenOptions& options = {});
  // The same for explicitly listed parts (parts that were renamed).
  static Result<File> open_parts(std::span<const std::string> paths,
                                 const OpenOptions& options = {});

  // The same for a file that is already in memory; the bytes must outlive the File. `name` stands
  // for the path in messages.
  static Result<File> from_bytes(std::span<const std::byte> bytes, std::string name);

  // The same for a file of `size` bytes that begins with `header` and whose weights are all zero:
  // they take no memory, so a model can be planned, or tried out, without having it.
  static Result<File> from_header(std::span<const std::byte> header, uint64_t size,
                                  std::string name);

  File(File&&) noexcept;
  File& operator=(File&&) noexcept;
  ~File();
  // The same file once more; its contents stay until the last of both goes.
  File share() const;

  // Whether what was read since the file was opened, and what will be, is the file that was
  // checked. Costs a system call per part; ask after every use of tensor bytes. Error:
  // "file-changed".
  Status check_unchanged() const;
  // Says that these bytes of a tensor are not needed soon: a mapped file gives its pages back to
  // the system, which keeps what it can. They read the same afterwards.
  void release(std::span<const std::byte> bytes) const;

  const std::string& path() const;  // of the first part
  uint32_t version() const;
  // The files that make up the model, in order: path and complete contents.
  struct PartView {
    std::string_view path;
    std::span<const std::byte> bytes;
  };
  std::vector<PartView> parts() const;
  uint64_t size_bytes() const;                      // all parts
  std::span<const MetadataEntry> metadata() const;  // of the first part, in file order
  const Value* find(std::string_view key) const;    // nullptr if absent
  // A string key's text, or `fallback` when it is absent or not a string.
  std::string_view text(std::string_view key, std::string_view fallback = {}) const;

  std::span<const TensorView> tensors() const;  // of all parts, in file order
  const TensorView* find_tensor(std::string_view name) const;
  std::span<const NumberTensorView> number_tensors() const;
  const NumberTensorView* find_number_tensor(std::string_view name) const;
  std::span<const std::string> warnings() const;  // one sentence each (W rows of docs/gguf.md)

 private:
  struct Impl;
  struct Assembler;
  static Result<File> from_contents(Contents contents, std::string name);
  explicit File(std::shared_ptr<const Impl> impl);
  std::shared_ptr<const Impl> impl_;
};

}  // namespace quern::gguf
