// Reads the tensor descriptions: names, shapes, types and offsets.
#include <algorithm>
#include <array>
#include <limits>

#include "gguf/checked.h"
#include "gguf/part.h"

namespace quern::gguf {
namespace {

constexpr uint64_t kLongestName = 64;
constexpr uint32_t kMostDims = 4;
constexpr uint64_t kLargest = std::numeric_limits<int64_t>::max();

constexpr std::array kNumberTypes = {
    NumberTypeInfo{"i8", 24, 1},  NumberTypeInfo{"i16", 25, 2}, NumberTypeInfo{"i32", 26, 4},
    NumberTypeInfo{"i64", 27, 8}, NumberTypeInfo{"f64", 28, 8},
};

// Type ids that once were, or are never, stored in a file.
struct RefusedType {
  uint32_t type_id;
  std::string_view name;
  std::string_view successor;  // empty: an activation format
};
constexpr std::array kRefusedTypes = {
    RefusedType{4, "Q4_2", "Q4_0"},
    RefusedType{5, "Q4_3", "Q4_0"},
    RefusedType{31, "Q4_0_4_4", "Q4_0"},
    RefusedType{32, "Q4_0_4_8", "Q4_0"},
    RefusedType{33, "Q4_0_8_8", "Q4_0"},
    RefusedType{36, "IQ4_NL_4_4", "IQ4_NL"},
    RefusedType{37, "IQ4_NL_4_8", "IQ4_NL"},
    RefusedType{38, "IQ4_NL_8_8", "IQ4_NL"},
    RefusedType{9, "q8_1", ""},
    RefusedType{15, "q8_K", ""},
};

// How a type stores values, whether it is a weight format or plain numbers.
struct Storage {
  std::string_view name;
  uint64_t block_values;
  uint64_t block_bytes;
  std::optional<Format> format;
  std::optional<NumberType> number;
};

std::optional<Storage> storage(uint32_t type_id) {
  if (const auto format = format_from_type_id(type_id)) {
    const FormatInfo& row = info(*format);
    return Storage{row.name, row.block_values, row.block_bytes, format, {}};
  }
  for (size_t i = 0; i < kNumberTypes.size(); ++i) {
    const NumberTypeInfo& row = kNumberTypes[i];
    if (row.type_id == type_id) {
      return Storage{row.name, 1, row.bytes, {}, static_cast<NumberType>(i)};
    }
  }
  return std::nullopt;
}

class InfoReader {
 public:
  InfoReader(Cursor& cursor, uint64_t index, Part& part)
      : cursor_(cursor), index_(index), part_(part) {}

  Status run() {
    QUERN_CHECK(name());
    QUERN_CHECK(shape());
    QUERN_CHECK(type());
    QUERN_CHECK(size());
    QUERN_CHECK(offset());
    if (storage_.number) {
      part_.number_tensors.push_back({name_, *storage_.number, shape_, dims_, {}});
    } else {
      part_.tensors.push_back({name_, *storage_.format, shape_, dims_, {}});
    }
    return {};
  }

 private:
  Status name();
  Status shape();
  Status dimension(uint32_t k);
  Status type();
  Status size();
  Status offset();

  tl::unexpected<Error> fail(const char* code, const char* what, uint64_t at, std::string found,
                             std::string allowed, const std::string& message,
                             ErrorKind kind = ErrorKind::kBadInput) const {
    return cursor_.fail({code,
                         {what, {}, name_},
                         at,
                         std::move(found),
                         std::move(allowed),
                         "tensor " + escape(name_) + ": " + message,
                         kind});
  }

  Cursor& cursor_;
  const uint64_t index_;
  Part& part_;
  std::string_view name_;
  uint32_t dims_ = 0;
  std::array<uint64_t, 4> shape_ = {1, 1, 1, 1};
  uint64_t shape_at_ = 0;
  uint64_t elements_ = 1;
  Storage storage_{};
  uint64_t bytes_ = 0;
};

Status InfoReader::name() {
  const uint64_t at = cursor_.position();
  const Field field{"name of tensor", index_};
  const std::string tensor = "tensor " + std::to_string(index_);
  QUERN_TRY(name_, cursor_.string(field));
  if (name_.empty()) {
    return cursor_.fail({"name-empty", field, at, "0", "1 to 64", tensor + " has an empty name"});
  }
  if (name_.size() > kLongestName) {
    const std::string size = std::to_string(name_.size());
    return cursor_.fail({"name-length", field, at, size, "at most 64",
                         tensor + ": name of " + size + " bytes, at most 64 allowed"});
  }
  if (has_control_characters(name_)) {
    return cursor_.fail({"name-chars", field, at, escape(name_), "no control characters",
                         tensor + ": name " + escape(name_) + " contains control characters"});
  }
  return {};
}

Status InfoReader::shape() {
  const uint64_t at = cursor_.position();
  QUERN_TRY(dims_, cursor_.number<uint32_t>({"dimensions of tensor", {}, name_}));
  if (dims_ > kMostDims) {
    const std::string found = std::to_string(dims_);
    return fail("n-dims", "dimensions of tensor", at, found, "at most 4",
                found + " dimensions, at most 4 allowed");
  }
  shape_at_ = cursor_.position();
  for (uint32_t k = 0; k < dims_; ++k) QUERN_CHECK(dimension(k));

  for (const uint64_t n : shape_) {
    const auto product = checked_mul(elements_, n);
    if (!product || *product > kLargest) {
      std::string text;
      for (uint32_t k = 0; k < dims_; ++k) text += (k ? ", " : "") + std::to_string(shape_[k]);
      text = "[" + text + "]";
      return fail("element-count", "shape of tensor", shape_at_, text, "at most 2^63-1 elements",
                  "shape " + text + " has more than 2^63-1 elements");
    }
    elements_ = *product;
  }
  return {};
}

Status InfoReader::dimension(uint32_t k) {
  const uint64_t at = cursor_.position();
  QUERN_TRY(shape_[k], cursor_.number<uint64_t>({"shape of tensor", {}, name_}));
  const std::string dimension = "dimension " + std::to_string(k);
  const std::string found = std::to_string(shape_[k]);
  if (shape_[k] == 0) {
    return fail("dim-zero", "shape of tensor", at, found, "at least 1", dimension + " is 0");
  }
  if (shape_[k] > kLargest) {
    return fail("dim-range", "shape of tensor", at, found, "at most 9223372036854775807",
                dimension + " is " + found + ", out of range");
  }
  return {};
}

Status InfoReader::type() {
  const uint64_t at = cursor_.position();
  QUERN_TRY(const uint32_t id, cursor_.number<uint32_t>({"type of tensor", {}, name_}));
  if (const auto known = storage(id)) {
    storage_ = *known;
    return {};
  }
  const std::string found = std::to_string(id);
  const auto refuse = [&](const char* code, const std::string& message) {
    return fail(code, "type of tensor", at, found, "a type listed in docs/gguf.md", message,
                ErrorKind::kUnsupported);
  };
  const auto old = std::ranges::find(kRefusedTypes, id, &RefusedType::type_id);
  if (old == kRefusedTypes.end()) {
    return refuse("tensor-type", "unknown tensor type " + found +
                                     "; the file may need a newer version or come from a fork");
  }
  const std::string text(old->name);
  if (old->successor.empty()) {
    return refuse("tensor-type-internal",
                  "type " + text + " is an activation format, not a weight format");
  }
  return refuse("tensor-type-removed", "type " + found + " (" + text +
                                           ") was removed from the format; re-quantize the model "
                                           "(as " +
                                           std::string(old->successor) + ")");
}

Status InfoReader::size() {
  if (shape_[0] % storage_.block_values != 0) {
    const std::string row = std::to_string(shape_[0]);
    const std::string block = std::to_string(storage_.block_values);
    return fail("row-length", "shape of tensor", shape_at_, row, "a multiple of " + block,
                "rows of " + row + " values are not a multiple of the " + block +
                    "-value blocks of " + std::string(storage_.name));
  }
  const auto bytes = checked_mul(elements_ / storage_.block_values, storage_.block_bytes);
  if (!bytes || *bytes > kLargest) {
    return fail("byte-size", "shape of tensor", shape_at_,
                std::to_string(elements_) + " values of " + std::string(storage_.name),
                "at most 2^63-1 bytes", "size overflows");
  }
  bytes_ = *bytes;
  return {};
}

Status InfoReader::offset() {
  const uint64_t at = cursor_.position();
  QUERN_TRY(const uint64_t offset, cursor_.number<uint64_t>({"offset of tensor", {}, name_}));
  if (offset % part_.alignment != 0) {
    const std::string found = std::to_string(offset), unit = std::to_string(part_.alignment);
    return fail("offset-align", "offset of tensor", at, found, "a multiple of " + unit,
                "offset " + found + " is not a multiple of the alignment " + unit);
  }
  part_.placements.push_back({name_, offset, bytes_, at, storage_.number.has_value()});
  return {};
}

}  // namespace

const NumberTypeInfo& info(NumberType type) { return kNumberTypes[static_cast<size_t>(type)]; }

Status read_tensor_infos(Cursor& cursor, uint64_t count, Part& part) {
  for (uint64_t i = 0; i < count; ++i) QUERN_CHECK(InfoReader(cursor, i, part).run());
  return {};
}

}  // namespace quern::gguf
