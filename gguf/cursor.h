// Cursor: the only way the parser reads a file. Every read is checked against the bytes left, and
// every error says which field it is about and where that field starts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "gguf/result.h"

namespace quern::gguf {

// The name of a part of the file, spelled out only when an error needs it.
struct Field {
  std::string_view what;                                // "key of entry"
  std::optional<uint64_t> number = std::nullopt;        // 17
  std::optional<std::string_view> name = std::nullopt;  // a string from the file

  // `key of entry 17`, `value of "general.name"`, `element 3 of "tokenizer.ggml.tokens"`
  std::string to_string() const;
};

// What an error in a file consists of, besides its path and severity.
struct Fault {
  std::string code;
  Field field;
  uint64_t offset;  // of the field
  std::string found;
  std::string allowed;
  std::string message;
  ErrorKind kind = ErrorKind::kBadInput;
};
Error to_error(Fault fault, const std::string& path);

class Cursor {
 public:
  Cursor(std::span<const std::byte> bytes, const std::string& path) : bytes_(bytes), path_(path) {}

  uint64_t position() const { return position_; }
  uint64_t size() const { return bytes_.size(); }
  uint64_t left() const { return bytes_.size() - position_; }

  // The next `count` bytes. Error: "truncated".
  Result<std::span<const std::byte>> take(uint64_t count, const Field& field);

  // A little-endian number. Error: "truncated".
  template <typename T>
  Result<T> number(const Field& field) {
    QUERN_TRY(const auto raw, take(sizeof(T), field));
    T value;
    std::memcpy(&value, raw.data(), sizeof value);
    return value;
  }

  // A length-prefixed string. Errors: "truncated", "string-length".
  Result<std::string_view> string(const Field& field);

  tl::unexpected<Error> fail(Fault fault) const {
    return tl::unexpected(to_error(std::move(fault), path_));
  }

 private:
  std::span<const std::byte> bytes_;
  const std::string& path_;
  uint64_t position_ = 0;
};

}  // namespace quern::gguf
