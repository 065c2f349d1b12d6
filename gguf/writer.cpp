#include "gguf/writer.h"

#include <cassert>
#include <cstring>
#include <memory>
#include <type_traits>

#include "gguf/checked.h"
#include "gguf/os_file.h"

namespace quern::gguf {
namespace {

using Bytes = std::vector<std::byte>;

void append(Bytes& out, std::span<const std::byte> bytes) {
  const size_t at = out.size();
  out.resize(at + bytes.size());
  if (!bytes.empty()) std::memcpy(out.data() + at, bytes.data(), bytes.size());
}

template <typename T>
requires std::is_arithmetic_v<T> || std::is_enum_v<T>
void append(Bytes& out, T value) { append(out, std::as_bytes(std::span(&value, 1))); }

void append_string(Bytes& out, std::string_view text) {
  append(out, uint64_t{text.size()});
  append(out, std::as_bytes(std::span(text)));
}

void append_value(Bytes& out, const std::string& text) { append_string(out, text); }
void append_value(Bytes& out, bool value) { append(out, uint8_t{value}); }
template <typename T>
void append_value(Bytes& out, T value) {
  append(out, value);
}

// The value type that stores a C++ type.
template <typename T>
constexpr ValueType kTypeOf = ValueType::kArray;
template <>
constexpr ValueType kTypeOf<uint8_t> = ValueType::kU8;
template <>
constexpr ValueType kTypeOf<int8_t> = ValueType::kI8;
template <>
constexpr ValueType kTypeOf<uint16_t> = ValueType::kU16;
template <>
constexpr ValueType kTypeOf<int16_t> = ValueType::kI16;
template <>
constexpr ValueType kTypeOf<uint32_t> = ValueType::kU32;
template <>
constexpr ValueType kTypeOf<int32_t> = ValueType::kI32;
template <>
constexpr ValueType kTypeOf<float> = ValueType::kF32;
template <>
constexpr ValueType kTypeOf<bool> = ValueType::kBool;
template <>
constexpr ValueType kTypeOf<std::string> = ValueType::kString;
template <>
constexpr ValueType kTypeOf<uint64_t> = ValueType::kU64;
template <>
constexpr ValueType kTypeOf<int64_t> = ValueType::kI64;
template <>
constexpr ValueType kTypeOf<double> = ValueType::kF64;

}  // namespace

Writer::Writer(uint32_t alignment) : alignment_(alignment) {
  assert(alignment != 0 && (alignment & (alignment - 1)) == 0);
  if (alignment != 32) set("general.alignment", alignment);
}

void Writer::put(std::string key, Bytes typed_value) {
  const auto [at, added] = positions_.try_emplace(key, entries_.size());
  if (added) {
    entries_.emplace_back(std::move(key), std::move(typed_value));
  } else {
    entries_[at->second].second = std::move(typed_value);
  }
}

void Writer::set(std::string key, Scalar value) {
  Bytes bytes;
  std::visit(
      [&](const auto& v) {
        append(bytes, kTypeOf<std::decay_t<decltype(v)>>);
        append_value(bytes, v);
      },
      value);
  put(std::move(key), std::move(bytes));
}

void Writer::set(std::string key, Array value) {
  Bytes bytes;
  append(bytes, ValueType::kArray);
  std::visit(
      [&](const auto& v) {
        using Element = typename std::decay_t<decltype(v)>::value_type;
        append(bytes, kTypeOf<Element>);
        append(bytes, uint64_t{v.size()});
        for (const auto& element : v) append_value(bytes, static_cast<const Element&>(element));
      },
      value);
  put(std::move(key), std::move(bytes));
}

void Writer::copy(const MetadataEntry& entry) {
  const Value& value = entry.value;
  Bytes bytes;
  append(bytes, value.type());
  if (value.type() == ValueType::kArray) {
    append(bytes, value.element_type());
    append(bytes, uint64_t{value.size()});
  } else if (value.type() == ValueType::kString) {
    append(bytes, uint64_t{value.bytes().size()});
  }
  append(bytes, value.bytes());
  put(std::string(entry.key), std::move(bytes));
}

void Writer::add_tensor(std::string name, Format format, std::vector<uint64_t> shape,
                        std::function<Status(std::span<std::byte>)> fill) {
  assert(!shape.empty() && shape.size() <= 4 && shape[0] % info(format).block_values == 0);
  uint64_t size = info(format).row_bytes(shape[0]);
  for (size_t k = 1; k < shape.size(); ++k) size *= shape[k];
  tensors_.push_back(
      {std::move(name), info(format).type_id, std::move(shape), size, std::move(fill)});
}

void Writer::add_tensor(std::string name, Format format, std::vector<uint64_t> shape, Bytes data) {
  // Shared, because std::function must be copyable and the data may be large.
  auto owned = std::make_shared<const Bytes>(std::move(data));
  add_tensor(std::move(name), format, std::move(shape),
             [owned](std::span<std::byte> out) -> Status {
               assert(owned->size() == out.size());
               std::memcpy(out.data(), owned->data(), out.size());
               return {};
             });
}

void Writer::copy(const NumberTensorView& tensor) {
  tensors_.push_back({std::string(tensor.name),
                      info(tensor.type).type_id,
                      {tensor.shape.begin(), tensor.shape.begin() + tensor.dims},
                      tensor.bytes.size(),
                      [bytes = tensor.bytes](std::span<std::byte> out) -> Status {
                        std::memcpy(out.data(), bytes.data(), out.size());
                        return {};
                      }});
}

std::vector<std::byte> Writer::header() const {
  Bytes out;
  append(out, std::as_bytes(std::span("GGUF", 4)));
  append(out, uint32_t{3});
  append(out, uint64_t{tensors_.size()});
  append(out, uint64_t{entries_.size()});
  for (const auto& [key, value] : entries_) {
    append_string(out, key);
    append(out, value);
  }
  uint64_t offset = 0;
  for (const Tensor& tensor : tensors_) {
    append_string(out, tensor.name);
    append(out, static_cast<uint32_t>(tensor.shape.size()));
    for (const uint64_t n : tensor.shape) append(out, n);
    append(out, tensor.type_id);
    append(out, offset);
    offset = *checked_align_up(offset + tensor.size, alignment_);
  }
  return out;
}

Status Writer::emit(const Sink& sink) const {
  const Bytes zeros(alignment_);
  const auto pad = [&](uint64_t size) {
    return sink(std::span(zeros).first(*checked_align_up(size, alignment_) - size));
  };
  const Bytes start = header();
  QUERN_CHECK(sink(start));
  if (!tensors_.empty()) QUERN_CHECK(pad(start.size()));
  Bytes data;
  for (const Tensor& tensor : tensors_) {
    data.resize(tensor.size);
    QUERN_CHECK(tensor.fill(data));
    QUERN_CHECK(sink(data));
    QUERN_CHECK(pad(tensor.size));
  }
  return {};
}

Status Writer::write(const std::string& path) const {
  QUERN_TRY(ReplacedFile file, ReplacedFile::create(path));
  QUERN_CHECK(emit([&](std::span<const std::byte> bytes) { return file.write(bytes); }));
  return file.commit();
}

Result<std::vector<std::byte>> Writer::bytes() const {
  Bytes out;
  QUERN_CHECK(emit([&](std::span<const std::byte> bytes) -> Status {
    append(out, bytes);
    return {};
  }));
  return out;
}

Result<File> Writer::outline(std::string name) const {
  const Bytes start = header();
  uint64_t size = start.size();
  for (const Tensor& tensor : tensors_) size = *checked_align_up(size, alignment_) + tensor.size;
  return File::from_header(start, *checked_align_up(size, alignment_), std::move(name));
}

}  // namespace quern::gguf
