// Reads the header and the metadata of one file. Everything is checked as it is read; codes and
// messages are those of docs/gguf.md.
#include <algorithm>
#include <bit>
#include <cstdio>
#include <utility>

#include "gguf/checked.h"
#include "gguf/part.h"

namespace quern::gguf {
namespace {

constexpr uint64_t kHeaderBytes = 24;
constexpr uint64_t kSmallestEntry = 14;  // key length 8, key 1, type 4, value 1
constexpr uint64_t kSmallestTensorInfo =
    25;  // name length 8, name 1, dimensions 4, type 4, offset 8
constexpr uint64_t kLongestKey = 65535;
constexpr uint32_t kValueTypes = 13;
constexpr int kDeepestArray = 4;
constexpr uint64_t kLargestAlignment = 1 << 20;

std::string hex(std::span<const std::byte> bytes) {
  std::string text;
  for (const std::byte b : bytes) {
    char digits[4];
    std::snprintf(digits, sizeof digits, "%02x ", static_cast<unsigned>(b));
    text += digits;
  }
  text.pop_back();
  return text;
}

// What a file that is not GGUF probably is, from its first 24 bytes.
std::string_view magic_hint(std::string_view start) {
  for (const std::string_view old : {"lmgg", "fmgg", "tjgg"}) {
    if (start.starts_with(old)) return " (a GGML file from before GGUF: convert it)";
  }
  if (start.starts_with("PK")) return " (a zip file or PyTorch checkpoint: convert it)";
  if (start.starts_with("version https://git-lfs")) {
    return " (a Git LFS pointer: the model itself was not downloaded)";
  }
  if (start.starts_with("<")) return " (an HTML page: the download failed)";
  if (start[8] == '{') return " (a safetensors file: convert it)";
  return "";
}

// Bytes that one array element needs at least.
uint64_t smallest_element(ValueType type) {
  if (type == ValueType::kString) return 8;
  if (type == ValueType::kArray) return 12;
  return scalar_bytes(type);
}

}  // namespace

tl::unexpected<Error> Part::fail_value(std::string code, std::string_view key, std::string found,
                                       std::string allowed, std::string message) const {
  const auto at = static_cast<uint64_t>(find(key)->bytes().data() - contents.bytes().data());
  return tl::unexpected(to_error({std::move(code),
                                  {"value of", {}, key},
                                  at,
                                  std::move(found),
                                  std::move(allowed),
                                  std::move(message)},
                                 path));
}

class Parser {
 public:
  explicit Parser(Part& part) : part_(part), cursor_(part.contents.bytes(), part.path) {}

  Status run() {
    QUERN_CHECK(magic());
    QUERN_CHECK(version());
    QUERN_TRY(const uint64_t tensors, count("tensor", kSmallestTensorInfo));
    QUERN_TRY(const uint64_t entries, count("metadata", kSmallestEntry));
    for (uint64_t i = 0; i < entries; ++i) QUERN_CHECK(entry(i));
    QUERN_CHECK(index_keys());
    QUERN_CHECK(alignment());
    QUERN_CHECK(read_tensor_infos(cursor_, tensors, part_));
    return place_tensors(cursor_, part_);
  }

 private:
  Status magic();
  Status version();
  Result<uint64_t> count(const char* what, uint64_t smallest);
  Status entry(uint64_t index);
  Result<std::string_view> key(uint64_t index);
  Result<ValueType> value_type(const char* code, const char* what, std::string_view key);
  Result<Value> value(ValueType type, std::string_view key);
  Status booleans(std::span<const std::byte> bytes, std::string_view key);
  Status array(std::string_view key, int depth, Value* out);
  Status elements(ValueType type, uint64_t count, std::string_view key, int depth, Value* out);
  Status index_keys();
  Status alignment();

  Part& part_;
  Cursor cursor_;
  uint64_t unusual_keys_ = 0;  // with bytes outside ASCII
};

Status Parser::magic() {
  const std::string size = std::to_string(cursor_.size());
  if (cursor_.size() < kHeaderBytes) {
    return cursor_.fail({"too-short",
                         {"header"},
                         0,
                         size,
                         "at least 24",
                         size + " bytes is too short for a GGUF header (24 bytes)"});
  }
  const auto start = part_.contents.bytes().first(kHeaderBytes);
  const std::string_view text(reinterpret_cast<const char*>(start.data()), start.size());
  QUERN_TRY(const auto bytes, cursor_.take(4, {"magic"}));
  if (text.starts_with("GGUF")) return {};
  return cursor_.fail({"magic",
                       {"magic"},
                       0,
                       hex(bytes),
                       "47 47 55 46",
                       "not a GGUF file: starts with " + hex(bytes) + ", expected 47 47 55 46" +
                           std::string(magic_hint(text))});
}

Status Parser::version() {
  const uint64_t at = cursor_.position();
  QUERN_TRY(part_.version, cursor_.number<uint32_t>({"version"}));
  const std::string found = std::to_string(part_.version);
  const auto refuse = [&](const char* code, std::string message) {
    return cursor_.fail(
        {code, {"version"}, at, found, "2, 3", std::move(message), ErrorKind::kUnsupported});
  };
  if (part_.version == 2 || part_.version == 3) return {};
  if (part_.version == 1) {
    return refuse("version-1", "GGUF version 1 is obsolete; convert the file to version 3");
  }
  if ((part_.version & 0xFFFF) == 0 && part_.version != 0) {
    char text[11];
    std::snprintf(text, sizeof text, "0x%08x", part_.version);
    return refuse("big-endian", std::string("big-endian GGUF (version field ") + text +
                                    "); only little-endian files are supported");
  }
  return refuse("version", "unsupported GGUF version " + found + "; supported: 2, 3");
}

// A count is believed only as far as the bytes that follow the header could hold that many items.
Result<uint64_t> Parser::count(const char* what, uint64_t smallest) {
  const uint64_t at = cursor_.position();
  const std::string name = std::string(what) + " count";
  QUERN_TRY(const uint64_t n, cursor_.number<uint64_t>({name}));
  const uint64_t left = cursor_.size() - kHeaderBytes;
  if (n <= left / smallest) return n;
  return cursor_.fail({std::string(what) + "-count",
                       {name},
                       at,
                       std::to_string(n),
                       "at most " + std::to_string(left / smallest),
                       name + " " + std::to_string(n) + " cannot fit in the " +
                           std::to_string(left) + " bytes that follow"});
}

Status Parser::entry(uint64_t index) {
  QUERN_TRY(const std::string_view name, key(index));
  QUERN_TRY(const ValueType type, value_type("value-type", "value type", name));
  QUERN_TRY(const Value parsed, value(type, name));
  part_.metadata.push_back({name, parsed});
  return {};
}

Result<std::string_view> Parser::key(uint64_t index) {
  const uint64_t at = cursor_.position();
  const Field field{"key of entry", index};
  QUERN_TRY(const std::string_view text, cursor_.string(field));
  const std::string entry = "metadata entry " + std::to_string(index);
  if (text.empty()) {
    return cursor_.fail({"key-empty", field, at, "0", "1 to 65535", entry + " has an empty key"});
  }
  if (text.size() > kLongestKey) {
    const std::string size = std::to_string(text.size());
    return cursor_.fail({"key-length", field, at, size, "at most 65535",
                         entry + ": key of " + size + " bytes, at most 65535 allowed"});
  }
  if (has_control_characters(text)) {
    return cursor_.fail({"key-chars", field, at, escape(text), "no control characters",
                         entry + ": key " + escape(text) + " contains control characters"});
  }
  const bool ascii = std::ranges::none_of(text, [](char c) { return (c & 0x80) != 0; });
  if (!ascii && unusual_keys_++ == 0) {
    part_.warnings.push_back(entry + ": key " + escape(text) + " has characters outside ASCII");
  }
  return text;
}

Result<ValueType> Parser::value_type(const char* code, const char* what, std::string_view key) {
  const uint64_t at = cursor_.position();
  const Field field{
      std::string_view(what) == "value type" ? "type of" : "element type of", {}, key};
  QUERN_TRY(const uint32_t type, cursor_.number<uint32_t>(field));
  if (type < kValueTypes) return static_cast<ValueType>(type);
  const std::string found = std::to_string(type);
  return cursor_.fail(
      {code, field, at, found, "0 to 12",
       "key " + escape(key) + ": unknown " + what + " " + found + ", known are 0 to 12",
       ErrorKind::kUnsupported});
}

Result<Value> Parser::value(ValueType type, std::string_view key) {
  const Field field{"value of", {}, key};
  Value out;
  out.type_ = type;
  if (type == ValueType::kArray) {
    QUERN_CHECK(array(key, 1, &out));
  } else if (type == ValueType::kString) {
    QUERN_TRY(const std::string_view text, cursor_.string(field));
    out.bytes_ = std::as_bytes(std::span(text));
  } else {
    QUERN_TRY(out.bytes_, cursor_.take(scalar_bytes(type), field));
    if (type == ValueType::kBool) QUERN_CHECK(booleans(out.bytes_, key));
  }
  return out;
}

Status Parser::booleans(std::span<const std::byte> bytes, std::string_view key) {
  const auto bad = std::ranges::find_if(bytes, [](std::byte b) { return b > std::byte{1}; });
  if (bad == bytes.end()) return {};
  const std::string found = std::to_string(std::to_integer<int>(*bad));
  const auto at = static_cast<uint64_t>(&*bad - part_.contents.bytes().data());
  return cursor_.fail({"bool-value",
                       {"value of", {}, key},
                       at,
                       found,
                       "0, 1",
                       "key " + escape(key) + ": boolean has value " + found + ", must be 0 or 1"});
}

// An array at the cursor; `out` is null for an array inside another, which is only checked.
Status Parser::array(std::string_view key, int depth, Value* out) {
  if (depth > kDeepestArray) {
    return cursor_.fail({"array-depth",
                         {"value of", {}, key},
                         cursor_.position(),
                         std::to_string(depth),
                         "at most 4",
                         "key " + escape(key) + ": arrays nested deeper than 4"});
  }
  QUERN_TRY(const ValueType type, value_type("array-type", "array element type", key));
  const uint64_t at = cursor_.position();
  const Field field{"array length of", {}, key};
  QUERN_TRY(const uint64_t count, cursor_.number<uint64_t>(field));
  const uint64_t most = cursor_.left() / smallest_element(type);
  if (count > most) {
    return cursor_.fail({"array-length", field, at, std::to_string(count),
                         "at most " + std::to_string(most),
                         "key " + escape(key) + ": array of " + std::to_string(count) + " " +
                             std::string(name(type)) + " cannot fit in the " +
                             std::to_string(cursor_.left()) + " bytes left"});
  }
  if (out) {
    out->element_type_ = type;
    out->size_ = count;
  }
  const uint64_t start = cursor_.position();
  QUERN_CHECK(elements(type, count, key, depth, out));
  if (out) out->bytes_ = part_.contents.bytes().subspan(start, cursor_.position() - start);
  return {};
}

Status Parser::elements(ValueType type, uint64_t count, std::string_view key, int depth,
                        Value* out) {
  if (type == ValueType::kArray) {
    for (uint64_t i = 0; i < count; ++i) QUERN_CHECK(array(key, depth + 1, nullptr));
    return {};
  }
  if (type != ValueType::kString) {
    QUERN_TRY(const auto bytes, cursor_.take(count * scalar_bytes(type), {"value of", {}, key}));
    return type == ValueType::kBool ? booleans(bytes, key) : Status{};
  }
  const uint64_t start = cursor_.position();
  uint64_t* offsets = nullptr;
  if (out) {
    offsets = part_.string_tables.emplace_back(std::make_unique<uint64_t[]>(count)).get();
    out->offsets_ = offsets;
  }
  for (uint64_t i = 0; i < count; ++i) {
    if (offsets) offsets[i] = cursor_.position() - start;
    QUERN_TRY(const std::string_view text, cursor_.string({"element", i, key}));
    static_cast<void>(text);
  }
  return {};
}

Status Parser::index_keys() {
  part_.keys = decltype(part_.keys)(part_.metadata);
  const auto same = part_.keys.duplicate();
  if (!same) return {};
  const std::string_view key = part_.metadata[same->second].key;
  // The length prefix of the key is where its field starts.
  const auto at = static_cast<uint64_t>(reinterpret_cast<const std::byte*>(key.data()) -
                                        part_.contents.bytes().data()) -
                  8;
  return cursor_.fail({"key-duplicate",
                       {"key of entry", same->second},
                       at,
                       escape(key),
                       "a key that no other entry has",
                       "duplicate key " + escape(key) + " (entries " + std::to_string(same->first) +
                           " and " + std::to_string(same->second) + ")"});
}

Status Parser::alignment() {
  constexpr std::string_view kKey = "general.alignment";
  const Value* value = part_.find(kKey);
  if (!value) return {};
  const ValueType type = value->type();
  if (type != ValueType::kU8 && type != ValueType::kU16 && type != ValueType::kU32 &&
      type != ValueType::kU64) {
    return part_.fail_value("alignment-type", kKey, std::string(name(type)), "u32",
                            "general.alignment must be u32, found " + std::string(name(type)));
  }
  part_.alignment = *value->as_u64();
  const std::string found = std::to_string(part_.alignment);
  if (!std::has_single_bit(part_.alignment) || part_.alignment > kLargestAlignment) {
    return part_.fail_value(
        "alignment-value", kKey, found, "a power of two, 1 to 1048576",
        "general.alignment is " + found + "; must be a power of two between 1 and 1048576");
  }
  if (part_.alignment < 8) {
    part_.warnings.push_back("general.alignment is " + found + "; smaller than 8 is unusual");
  }
  return {};
}

Result<Part> parse_part(Contents contents, std::string path) {
  Part part;
  part.path = std::move(path);
  part.contents = std::move(contents);
  QUERN_CHECK(Parser(part).run());
  return part;
}

}  // namespace quern::gguf
