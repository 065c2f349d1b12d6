// Value: typed access to one metadata value inside the file.
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>

#include "gguf/file.h"

namespace quern::gguf {
namespace {

static_assert(std::endian::native == std::endian::little, "files are little-endian");

// Values in a file have no alignment, so they are copied out.
template <typename T>
T load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

struct Integer {
  bool negative;
  uint64_t bits;  // two's complement
};

template <typename T>
Integer integer(const std::byte* at) {
  const T value = load<T>(at);
  return {value < T{0}, static_cast<uint64_t>(value)};
}

std::optional<Integer> load_integer(ValueType type, const std::byte* at) {
  switch (type) {
    case ValueType::kU8:
      return integer<uint8_t>(at);
    case ValueType::kI8:
      return integer<int8_t>(at);
    case ValueType::kU16:
      return integer<uint16_t>(at);
    case ValueType::kI16:
      return integer<int16_t>(at);
    case ValueType::kU32:
      return integer<uint32_t>(at);
    case ValueType::kI32:
      return integer<int32_t>(at);
    case ValueType::kU64:
      return integer<uint64_t>(at);
    case ValueType::kI64:
      return integer<int64_t>(at);
    default:
      return std::nullopt;
  }
}

std::optional<uint64_t> load_u64(ValueType type, const std::byte* at) {
  const auto value = load_integer(type, at);
  if (!value || value->negative) return std::nullopt;
  return value->bits;
}

std::optional<int64_t> load_i64(ValueType type, const std::byte* at) {
  const auto value = load_integer(type, at);
  constexpr uint64_t kMax = std::numeric_limits<int64_t>::max();
  if (!value || (!value->negative && value->bits > kMax)) return std::nullopt;
  return static_cast<int64_t>(value->bits);
}

std::optional<double> load_f64(ValueType type, const std::byte* at) {
  if (type == ValueType::kF32) return load<float>(at);
  if (type == ValueType::kF64) return load<double>(at);
  const auto value = load_integer(type, at);
  if (!value) return std::nullopt;
  return value->negative ? static_cast<double>(static_cast<int64_t>(value->bits))
                         : static_cast<double>(value->bits);
}

std::string_view text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

std::string_view name(ValueType type) {
  static constexpr std::array<std::string_view, 13> kNames = {
      "u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
      "bool", "string", "array", "u64", "i64", "f64"};
  return kNames[static_cast<size_t>(type)];
}

uint64_t scalar_bytes(ValueType type) {
  static constexpr std::array<uint8_t, 13> kBytes = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  return kBytes[static_cast<size_t>(type)];
}

ValueType Value::type() const { return type_; }
ValueType Value::element_type() const { return element_type_; }
size_t Value::size() const { return size_; }

std::optional<uint64_t> Value::as_u64() const { return load_u64(type_, bytes_.data()); }
std::optional<int64_t> Value::as_i64() const { return load_i64(type_, bytes_.data()); }
std::optional<double> Value::as_f64() const { return load_f64(type_, bytes_.data()); }

std::optional<bool> Value::as_bool() const {
  if (type_ != ValueType::kBool) return std::nullopt;
  return bytes_[0] != std::byte{0};
}

std::optional<std::string_view> Value::as_string() const {
  if (type_ != ValueType::kString) return std::nullopt;
  return text(bytes_);
}

std::optional<Value> Value::at(size_t index) const {
  if (index >= size_ || element_type_ == ValueType::kArray) return std::nullopt;
  Value element;
  element.type_ = element_type_;
  if (element_type_ == ValueType::kString) {
    const uint64_t start = offsets_[index];
    element.bytes_ = bytes_.subspan(start + 8, load<uint64_t>(bytes_.data() + start));
  } else {
    const uint64_t size = scalar_bytes(element_type_);
    element.bytes_ = bytes_.subspan(index * size, size);
  }
  return element;
}

std::optional<uint64_t> Value::u64_at(size_t index) const {
  const auto element = at(index);
  return element ? element->as_u64() : std::nullopt;
}

std::optional<int64_t> Value::i64_at(size_t index) const {
  const auto element = at(index);
  return element ? element->as_i64() : std::nullopt;
}

std::optional<double> Value::f64_at(size_t index) const {
  const auto element = at(index);
  return element ? element->as_f64() : std::nullopt;
}

std::optional<bool> Value::bool_at(size_t index) const {
  const auto element = at(index);
  return element ? element->as_bool() : std::nullopt;
}

std::optional<std::string_view> Value::string_at(size_t index) const {
  const auto element = at(index);
  return element ? element->as_string() : std::nullopt;
}

}  // namespace quern::gguf
