#include "gguf/cursor.h"

#include <utility>

namespace quern::gguf {

std::string Field::to_string() const {
  std::string text(what);
  if (number) text += " " + std::to_string(*number);
  if (name) text += (number ? " of " : " ") + escape(*name);
  return text;
}

Error to_error(Fault fault, const std::string& path) {
  return {
      fault.kind,   std::move(fault.code),  std::move(fault.message), path, fault.field.to_string(),
      fault.offset, std::move(fault.found), std::move(fault.allowed)};
}

Result<std::span<const std::byte>> Cursor::take(uint64_t count, const Field& field) {
  if (count > left()) {
    const std::string needed = std::to_string(count), available = std::to_string(left());
    return fail({"truncated", field, position_, available, needed,
                 "file ends inside " + field.to_string() + ": needs " + needed + " bytes, " +
                     available + " left"});
  }
  const auto taken = bytes_.subspan(position_, count);
  position_ += count;
  return taken;
}

Result<std::string_view> Cursor::string(const Field& field) {
  const uint64_t start = position_;
  QUERN_TRY(const uint64_t length, number<uint64_t>(field));
  if (length > left()) {
    const std::string found = std::to_string(length), available = std::to_string(left());
    return fail({"string-length", field, start, found, "at most " + available,
                 field.to_string() + ": string of " + found + " bytes exceeds the " + available +
                     " bytes left"});
  }
  const auto text = bytes_.subspan(position_, length);
  position_ += length;
  return std::string_view(reinterpret_cast<const char*>(text.data()), text.size());
}

}  // namespace quern::gguf
