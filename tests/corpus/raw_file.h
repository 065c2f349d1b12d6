// RawFile: writes a GGUF file field by field, right or wrong, and remembers where each field is, so
// that a test can change one field of a valid file. Independent of gguf::Writer on purpose.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace quern::test {

struct RawField {
  std::string name;  // "entry 0: key length"
  size_t position;
  size_t width;  // bytes: 1, 2, 4 or 8
};

class RawFile {
 public:
  RawFile(uint64_t tensors, uint64_t entries, uint32_t version = 3) {
    text("GGUF");
    number("version", version);
    number("tensor count", tensors);
    number("metadata count", entries);
  }

  template <typename T>
  RawFile& number(std::string field, T value) {
    fields_.push_back({std::move(field), bytes_.size(), sizeof value});
    const size_t at = bytes_.size();
    bytes_.resize(at + sizeof value);
    std::memcpy(bytes_.data() + at, &value, sizeof value);
    return *this;
  }
  RawFile& text(std::string_view raw) {
    for (const char c : raw) bytes_.push_back(static_cast<std::byte>(c));
    return *this;
  }
  RawFile& string(const std::string& field, std::string_view value) {
    return number(field + " length", uint64_t{value.size()}).text(value);
  }

  // An entry's key and value type; the value follows.
  RawFile& key(std::string_view name, uint32_t type) {
    entry_ = "entry " + std::to_string(entries_++);
    return string(entry_ + ": key", name).number(entry_ + ": type", type);
  }
  template <typename T>
  RawFile& scalar(std::string_view name, uint32_t type, T value) {
    return key(name, type).number(entry_ + ": value", value);
  }
  RawFile& string_entry(std::string_view name, std::string_view value) {
    return key(name, 8).string(entry_ + ": value", value);
  }
  // Element type and count of an array whose elements follow; also for an array inside another.
  RawFile& array(uint32_t type, uint64_t count) {
    return number(entry_ + ": element type", type).number(entry_ + ": array length", count);
  }
  RawFile& tensor(std::string_view name, std::initializer_list<uint64_t> shape, uint32_t type,
                  uint64_t offset) {
    const std::string prefix = "tensor " + std::to_string(tensors_++);
    string(prefix + ": name", name);
    number(prefix + ": dimensions", static_cast<uint32_t>(shape.size()));
    size_t k = 0;
    for (const uint64_t n : shape) number(prefix + ": dimension " + std::to_string(k++), n);
    return number(prefix + ": type", type).number(prefix + ": offset", offset);
  }
  // Zeros up to a multiple of `alignment`, then `size` bytes of data.
  RawFile& data(size_t size, size_t alignment = 32) {
    header_size_ = bytes_.size();
    bytes_.resize((bytes_.size() + alignment - 1) / alignment * alignment);
    bytes_.resize(bytes_.size() + size, std::byte{0x3C});
    return *this;
  }

  // Overwrites a field with the low bytes of `value`.
  RawFile& set(const RawField& field, uint64_t value) {
    std::memcpy(bytes_.data() + field.position, &value, field.width);
    return *this;
  }
  RawFile& set(std::string_view field, uint64_t value) { return set(at(field), value); }
  RawFile& cut(size_t size) {
    bytes_.resize(size);
    return *this;
  }

  const RawField& at(std::string_view name) const {
    for (const RawField& field : fields_) {
      if (field.name == name) return field;
    }
    throw std::out_of_range("no field " + std::string(name));
  }
  const std::vector<RawField>& fields() const { return fields_; }
  const std::vector<std::byte>& bytes() const { return bytes_; }
  size_t size() const { return bytes_.size(); }
  size_t header_size() const { return header_size_ ? header_size_ : bytes_.size(); }

 private:
  std::vector<std::byte> bytes_;
  std::vector<RawField> fields_;
  std::string entry_;
  uint64_t entries_ = 0;
  uint64_t tensors_ = 0;
  size_t header_size_ = 0;
};

}  // namespace quern::test
