// Reads the tensors of the golden decoding vectors. Independent of gguf::File, so that a fault
// there does not look like a fault in a decoder; it trusts its input.
#pragma once

#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

namespace quern::test {

struct GoldenTensor {
  uint32_t type = 0;
  std::vector<uint64_t> shape;  // innermost first
  const std::byte* bytes = nullptr;
};

class GoldenTensors {
 public:
  explicit GoldenTensors(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    data_.assign(std::istreambuf_iterator<char>(in), {});
    cursor_ = 8;
    if (!data_.empty()) read();
  }
  const std::map<std::string, GoldenTensor>& all() const { return tensors_; }

 private:
  template <typename T>
  T take() {
    T value;
    std::memcpy(&value, data_.data() + cursor_, sizeof value);
    cursor_ += sizeof value;
    return value;
  }
  std::string take_string() {
    const auto size = take<uint64_t>();
    cursor_ += size;
    return std::string(data_.data() + cursor_ - size, size);
  }
  void skip_value(uint32_t type) {
    constexpr size_t kSizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    if (type == 8) {
      take_string();
    } else if (type == 9) {
      const auto element = take<uint32_t>();
      for (auto n = take<uint64_t>(); n > 0; --n) skip_value(element);
    } else {
      cursor_ += kSizes[type];
    }
  }
  void read() {
    const auto tensor_count = take<uint64_t>();
    for (auto n = take<uint64_t>(); n > 0; --n) {
      take_string();
      skip_value(take<uint32_t>());
    }
    std::map<std::string, uint64_t> offsets;
    for (uint64_t i = 0; i < tensor_count; ++i) {
      const std::string name = take_string();
      GoldenTensor& tensor = tensors_[name];
      tensor.shape.resize(take<uint32_t>());
      for (uint64_t& size : tensor.shape) size = take<uint64_t>();
      tensor.type = take<uint32_t>();
      offsets[name] = take<uint64_t>();
    }
    const size_t start = (cursor_ + 31) / 32 * 32;
    for (auto& [name, tensor] : tensors_) {
      tensor.bytes = reinterpret_cast<const std::byte*>(data_.data() + start + offsets[name]);
    }
  }

  std::vector<char> data_;
  size_t cursor_ = 0;
  std::map<std::string, GoldenTensor> tensors_;
};

}  // namespace quern::test
