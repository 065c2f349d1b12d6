// Part: one parsed file of a model, and the steps that parse it, in the order of reading:
// parse_part (header, metadata) -> read_tensor_infos -> place_tensors.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/cursor.h"
#include "gguf/file.h"
#include "gguf/name_index.h"
#include "gguf/os_file.h"

namespace quern::gguf {

// Keys and names must not be able to garble a terminal or a log.
inline bool has_control_characters(std::string_view text) {
  return std::ranges::any_of(text,
                             [](char c) { return static_cast<uint8_t>(c) < 0x20 || c == 0x7F; });
}

// Where a tensor's data lies, before it is known to lie inside the file.
struct Placement {
  std::string_view name;
  uint64_t offset;    // from data_start
  uint64_t size;      // bytes
  uint64_t position;  // of the offset field, for messages
  bool is_number;     // described by number_tensors, not by tensors
};

struct Part {
  std::string path;
  Contents contents = Contents::view({});
  uint32_t version = 0;
  uint64_t alignment = 32;
  std::vector<MetadataEntry> metadata;
  NameIndex<MetadataEntry, &MetadataEntry::key> keys;
  std::vector<std::unique_ptr<uint64_t[]>> string_tables;  // offsets_ of string arrays
  std::vector<TensorView> tensors;
  std::vector<NumberTensorView> number_tensors;
  std::vector<Placement> placements;  // of both kinds, in file order
  std::vector<std::string> warnings;

  const Value* find(std::string_view key) const {
    const MetadataEntry* entry = keys.find(key);
    return entry ? &entry->value : nullptr;
  }
  // An error about the value of a key that is present.
  tl::unexpected<Error> fail_value(std::string code, std::string_view key, std::string found,
                                   std::string allowed, std::string message) const;
};

// Errors: all of docs/gguf.md that concern a single file, except "open" and "not-regular".
Result<Part> parse_part(Contents contents, std::string path);

// Reads `count` tensor descriptions at the cursor into the part.
Status read_tensor_infos(Cursor& cursor, uint64_t count, Part& part);

// Checks where the tensor data lies, given the cursor at the end of the descriptions, and makes the
// views of the part point to it.
Status place_tensors(const Cursor& cursor, Part& part);

}  // namespace quern::gguf
