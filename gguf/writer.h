// Writer: makes GGUF version 3 files (quantizer, synthetic models, tests).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "gguf/file.h"

namespace quern::gguf {

// Collects metadata and tensor descriptions, then writes everything in one pass. Files are written
// under a temporary name beside the target, synced and renamed, so a crash leaves the old file.
class Writer {
 public:
  using Scalar = std::variant<uint8_t, int8_t, uint16_t, int16_t, uint32_t, int32_t, float, bool,
                              std::string, uint64_t, int64_t, double>;
  using Array = std::variant<std::vector<uint8_t>, std::vector<int32_t>, std::vector<uint32_t>,
                             std::vector<float>, std::vector<bool>, std::vector<std::string>>;

  // The file alignment in bytes; the key is written only when it is not 32.
  explicit Writer(uint32_t alignment = 32);

  void set(std::string key, Scalar value);  // replaces an earlier value of the same key
  void set(std::string key, Array value);
  // Copies an entry of another file unchanged.
  void copy(const MetadataEntry& entry);

  // `shape` innermost first, 1 to 4 dimensions. The data is asked for when the file is written:
  // `fill` gets exactly the tensor's bytes, once, in the order of the calls to add_tensor.
  void add_tensor(std::string name, Format format, std::vector<uint64_t> shape,
                  std::function<Status(std::span<std::byte>)> fill);
  void add_tensor(std::string name, Format format, std::vector<uint64_t> shape,
                  std::vector<std::byte> data);
  // Copies a tensor of another file unchanged; its bytes are read when the file is written.
  void copy(const NumberTensorView& tensor);

  // Errors: "write" when the disk refuses.
  Status write(const std::string& path) const;
  // The complete file in memory (tests, small models).
  Result<std::vector<std::byte>> bytes() const;
  // The file with weights that are all zero and take no memory (File::from_header).
  Result<File> outline(std::string name) const;

 private:
  struct Tensor {
    std::string name;
    uint32_t type_id;
    std::vector<uint64_t> shape;
    uint64_t size;
    std::function<Status(std::span<std::byte>)> fill;
  };
  using Sink = std::function<Status(std::span<const std::byte>)>;
  void put(std::string key, std::vector<std::byte> typed_value);
  std::vector<std::byte> header() const;
  Status emit(const Sink& sink) const;  // the file, front to back

  uint32_t alignment_;
  std::vector<std::pair<std::string, std::vector<std::byte>>> entries_;  // key, type + value
  std::unordered_map<std::string, size_t> positions_;                    // of keys in entries_
  std::vector<Tensor> tensors_;
};

}  // namespace quern::gguf
