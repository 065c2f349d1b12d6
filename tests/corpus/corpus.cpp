#include "tests/corpus/corpus.h"

#include <algorithm>
#include <functional>

namespace quern::test {
namespace {

constexpr uint64_t k2e31 = uint64_t{1} << 31, k2e32 = uint64_t{1} << 32, k2e63 = uint64_t{1} << 63;
constexpr uint64_t kMax = ~uint64_t{0};

// One entry and two tensors, F32 [4, 2] (32 bytes) and Q4_0 [32, 2] (36 bytes).
RawFile tiny() {
  RawFile file(2, 1);
  file.string_entry("general.name", "tiny");
  file.tensor("first", {4, 2}, 0, 0).tensor("second", {32, 2}, 2, 32);
  return file.data(96);
}

RawFile with_alignment(uint32_t alignment) {
  RawFile file(1, 1);
  file.scalar("general.alignment", 4, alignment).tensor("first", {4, 2}, 0, 0);
  return file.data(32, std::clamp<uint32_t>(alignment, 1, 4096));
}

// One tensor with these properties and plenty of data behind it.
RawFile with_tensor(std::string_view name, std::initializer_list<uint64_t> shape, uint32_t type,
                    uint64_t offset) {
  RawFile file(1, 0);
  file.tensor(name, shape, type, offset);
  return file.data(4096);
}

RawFile with_array(uint32_t type, uint64_t count, size_t payload = 64) {
  RawFile file(0, 1);
  file.key("a.list", 9).array(type, count).text(std::string(payload, '\0'));
  return file;
}

RawFile nested(int depth) {
  RawFile file(0, 1);
  file.key("a.nest", 9);
  for (int i = 1; i < depth; ++i) file.array(9, 1);
  return file.array(0, 1).text("\x07");
}

std::string text(uint64_t value) { return std::to_string(value); }

// Collects files; names are made unique by a number.
class Collection {
 public:
  void add(std::string name, const RawFile& file, std::string code, std::string message = {}) {
    add(std::move(name), file.bytes(), std::move(code), std::move(message));
  }
  void add(std::string name, std::vector<std::byte> bytes, std::string code,
           std::string message = {}) {
    for (char& c : name) {
      if (c == ' ' || c == ':') c = '-';
    }
    name += "-" + text(files_.size());
    files_.push_back({std::move(name), std::move(bytes), std::move(code), std::move(message)});
  }
  std::vector<CorpusFile> take() { return std::move(files_); }

 private:
  std::vector<CorpusFile> files_;
};

void header_rows(Collection& out) {
  const auto start = [](std::string_view raw) {
    std::vector<std::byte> bytes(64);
    std::memcpy(bytes.data(), raw.data(), raw.size());
    return bytes;
  };
  out.add("empty", std::vector<std::byte>{}, "too-short",
          "0 bytes is too short for a GGUF header (24 bytes)");
  out.add("short", tiny().cut(23), "too-short",
          "23 bytes is too short for a GGUF header (24 bytes)");
  const std::string magic = ", expected 47 47 55 46";
  out.add("magic", start("ELF!"), "magic", "not a GGUF file: starts with 45 4c 46 21" + magic);
  out.add("ggml", start("lmgg"), "magic",
          "not a GGUF file: starts with 6c 6d 67 67" + magic +
              " (a GGML file from before GGUF: convert it)");
  out.add("zip", start("PK\x03\x04"), "magic",
          "not a GGUF file: starts with 50 4b 03 04" + magic +
              " (a zip file or PyTorch checkpoint: convert it)");
  out.add(
      "html", start("<!DOCTYPE html>"), "magic",
      "not a GGUF file: starts with 3c 21 44 4f" + magic + " (an HTML page: the download failed)");
  out.add("lfs", start("version https://git-lfs.github.com/spec/v1\n"), "magic",
          "not a GGUF file: starts with 76 65 72 73" + magic +
              " (a Git LFS pointer: the model itself was not downloaded)");
  out.add("safetensors", start(std::string_view("\x10\x27\0\0\0\0\0\0{\"a\":", 13)), "magic",
          "not a GGUF file: starts with 10 27 00 00" + magic + " (a safetensors file: convert it)");
  out.add("big endian", tiny().set("version", 0x03000000), "big-endian",
          "big-endian GGUF (version field 0x03000000); only little-endian files are supported");
  out.add("version 1", tiny().set("version", 1), "version-1",
          "GGUF version 1 is obsolete; convert the file to version 3");
  out.add("version 0", tiny().set("version", 0), "version",
          "unsupported GGUF version 0; supported: 2, 3");
  out.add("version 4", tiny().set("version", 4), "version",
          "unsupported GGUF version 4; supported: 2, 3");
  const std::string left = text(tiny().size() - 24);
  for (const uint64_t n : {(tiny().size() - 24) / 25 + 1, k2e63, kMax}) {
    out.add("tensor count", tiny().set("tensor count", n), "tensor-count",
            "tensor count " + text(n) + " cannot fit in the " + left + " bytes that follow");
  }
  for (const uint64_t n : {(tiny().size() - 24) / 14 + 1, k2e63, kMax}) {
    out.add("metadata count", tiny().set("metadata count", n), "metadata-count",
            "metadata count " + text(n) + " cannot fit in the " + left + " bytes that follow");
  }
}

void metadata_rows(Collection& out) {
  const size_t type_at = tiny().at("entry 0: type").position;
  out.add("truncated type", tiny().set("tensor count", 0).cut(type_at + 3), "truncated",
          "file ends inside type of \"general.name\": needs 4 bytes, 3 left");
  const uint64_t key_left = tiny().size() - 32;
  out.add("key too long for file", tiny().set("entry 0: key length", key_left + 1), "string-length",
          "key of entry 0: string of " + text(key_left + 1) + " bytes exceeds the " +
              text(key_left) + " bytes left");
  const uint64_t value_left = tiny().size() - tiny().at("entry 0: value length").position - 8;
  out.add("value too long for file", tiny().set("entry 0: value length", kMax), "string-length",
          "value of \"general.name\": string of " + text(kMax) + " bytes exceeds the " +
              text(value_left) + " bytes left");

  out.add("empty key", RawFile(0, 1).scalar("", 4, uint32_t{1}), "key-empty",
          "metadata entry 0 has an empty key");
  out.add("long key", RawFile(0, 1).scalar(std::string(65536, 'k'), 4, uint32_t{1}), "key-length",
          "metadata entry 0: key of 65536 bytes, at most 65535 allowed");
  out.add("key with escape", RawFile(0, 1).scalar("a\x1b[2J", 4, uint32_t{1}), "key-chars",
          "metadata entry 0: key \"a\\x1B[2J\" contains control characters");
  out.add("key with nul", RawFile(0, 1).scalar(std::string_view("a\0b", 3), 4, uint32_t{1}),
          "key-chars", "metadata entry 0: key \"a\\x00b\" contains control characters");
  RawFile duplicate(0, 3);
  duplicate.scalar("a", 4, uint32_t{1}).scalar("b", 4, uint32_t{1}).scalar("a", 5, int32_t{1});
  out.add("duplicate key", duplicate, "key-duplicate", "duplicate key \"a\" (entries 0 and 2)");
  out.add("value type", tiny().set("entry 0: type", 13), "value-type",
          "key \"general.name\": unknown value type 13, known are 0 to 12");
  out.add("bool value", RawFile(0, 1).scalar("a.flag", 7, uint8_t{2}), "bool-value",
          "key \"a.flag\": boolean has value 2, must be 0 or 1");
  RawFile bools(0, 1);
  bools.key("a.flags", 9).array(7, 3).text(std::string_view("\0\1\xFF", 3));
  out.add("bool element", bools, "bool-value",
          "key \"a.flags\": boolean has value 255, must be 0 or 1");
  out.add("element type", with_array(13, 1), "array-type",
          "key \"a.list\": unknown array element type 13, known are 0 to 12");
  out.add("array length", with_array(4, 17), "array-length",
          "key \"a.list\": array of 17 u32 cannot fit in the 64 bytes left");
  out.add("array length wraps", with_array(8, uint64_t{1} << 61), "array-length",
          "key \"a.list\": array of 2305843009213693952 string cannot fit in the 64 bytes left");
  out.add("nested too deep", nested(5), "array-depth",
          "key \"a.nest\": arrays nested deeper than 4");
  RawFile signed_alignment(0, 1);
  signed_alignment.scalar("general.alignment", 5, int32_t{32});
  out.add("alignment type", signed_alignment, "alignment-type",
          "general.alignment must be u32, found i32");
  for (const uint32_t a : {0u, 3u, 1u << 21, 1u << 31, ~0u}) {
    out.add("alignment value", with_alignment(a), "alignment-value",
            "general.alignment is " + text(a) + "; must be a power of two between 1 and 1048576");
  }
}

void tensor_name_rows(Collection& out) {
  out.add("empty name", with_tensor("", {4}, 0, 0), "name-empty", "tensor 0 has an empty name");
  out.add("long name", with_tensor(std::string(65, 'n'), {4}, 0, 0), "name-length",
          "tensor 0: name of 65 bytes, at most 64 allowed");
  out.add("name with bell", with_tensor("a\a", {4}, 0, 0), "name-chars",
          "tensor 0: name \"a\\x07\" contains control characters");
  RawFile duplicate(3, 0);
  duplicate.tensor("a", {4}, 0, 0).tensor("b", {4}, 26, 32).tensor("b", {4}, 0, 64);
  out.add("duplicate name", duplicate.data(96), "name-duplicate",
          "duplicate tensor name \"b\" (tensors 1 and 2)");
}

void tensor_shape_rows(Collection& out) {
  const std::string t = "tensor \"t\": ";
  out.add("five dimensions", with_tensor("t", {4, 1, 1, 1, 1}, 0, 0), "n-dims",
          t + "5 dimensions, at most 4 allowed");
  out.add("zero dimension", with_tensor("t", {4, 0}, 0, 0), "dim-zero", t + "dimension 1 is 0");
  out.add("negative dimension", with_tensor("t", {kMax}, 0, 0), "dim-range",
          t + "dimension 0 is 18446744073709551615, out of range");
  out.add("product wraps", with_tensor("t", {k2e32, k2e32, 2}, 0, 0), "element-count",
          t + "shape [4294967296, 4294967296, 2] has more than 2^63-1 elements");
  out.add("bytes wrap", with_tensor("t", {uint64_t{1} << 62}, 0, 0), "byte-size",
          t + "size overflows");
  out.add("row length", with_tensor("t", {33}, 8, 0), "row-length",
          t + "rows of 33 values are not a multiple of the 32-value blocks of q8_0");
  out.add("row length K", with_tensor("t", {128, 2}, 12, 0), "row-length",
          t + "rows of 128 values are not a multiple of the 256-value blocks of q4_K");
  for (const uint32_t type : {43u, 200u, ~0u}) {
    out.add("tensor type", with_tensor("t", {256}, type, 0), "tensor-type",
            t + "unknown tensor type " + text(type) +
                "; the file may need a newer version or come from a fork");
  }
  const struct {
    uint32_t type;
    std::string old, successor;
  } kRemoved[] = {{4, "Q4_2", "Q4_0"},          {5, "Q4_3", "Q4_0"},
                  {31, "Q4_0_4_4", "Q4_0"},     {32, "Q4_0_4_8", "Q4_0"},
                  {33, "Q4_0_8_8", "Q4_0"},     {36, "IQ4_NL_4_4", "IQ4_NL"},
                  {37, "IQ4_NL_4_8", "IQ4_NL"}, {38, "IQ4_NL_8_8", "IQ4_NL"}};
  for (const auto& row : kRemoved) {
    out.add("removed type", with_tensor("t", {256}, row.type, 0), "tensor-type-removed",
            t + "type " + text(row.type) + " (" + row.old +
                ") was removed from the format; re-quantize the model (as " + row.successor + ")");
  }
  out.add("activation type", with_tensor("t", {256}, 9, 0), "tensor-type-internal",
          t + "type q8_1 is an activation format, not a weight format");
  out.add("activation type", with_tensor("t", {256}, 15, 0), "tensor-type-internal",
          t + "type q8_K is an activation format, not a weight format");
}

void tensor_data_rows(Collection& out) {
  out.add("offset not aligned", with_tensor("t", {4}, 0, 16), "offset-align",
          "tensor \"t\": offset 16 is not a multiple of the alignment 32");
  const size_t header = tiny().header_size();
  const size_t start = (header + 31) / 32 * 32;
  out.add("no data", tiny().cut(header), "data-start",
          "file ends before the tensor data: data would start at " + text(start) + ", file has " +
              text(header) + " bytes");
  const auto beyond = [&](size_t from, size_t to, size_t size) {
    return "bytes " + text(from) + " to " + text(to) + " lie beyond the end of the file (" +
           text(size) + " bytes); the file is truncated or corrupt";
  };
  out.add("second tensor cut", tiny().cut(start + 67), "data-bounds",
          "tensor \"second\": " + beyond(start + 32, start + 68, start + 67));
  out.add("both tensors cut", tiny().cut(start), "data-bounds",
          "tensor \"first\": " + beyond(start, start + 32, start) + ", as are 1 more tensors");
  out.add("offset near the end of numbers", tiny().set("tensor 1: offset", kMax - 31),
          "data-bounds");
  out.add("overlap", tiny().set("tensor 1: offset", 0), "data-overlap",
          "tensors \"first\" and \"second\" overlap in bytes " + text(start) + " to " +
              text(start + 32));
  RawFile inside(2, 0);  // the second lies inside the first, and is listed before it
  inside.tensor("inner", {1}, 0, 32).tensor("outer", {64}, 0, 0);
  out.add("overlap inside", inside.data(256), "data-overlap");
}

void model_rows(Collection& out) {
  const auto quantized = [](uint32_t version) {
    RawFile file(1, 1);
    file.scalar("general.quantization_version", 4, version).tensor("t", {32}, 2, 0);
    return file.data(32);
  };
  out.add("quantization version", quantized(1), "quant-version",
          "quantization version 1, only 2 is supported");
  RawFile version_text(1, 1);
  version_text.string_entry("general.quantization_version", "2").tensor("t", {32}, 2, 0);
  out.add("quantization version type", version_text.data(32), "key-type",
          "key \"general.quantization_version\": found string, expected u32");
  RawFile split(0, 1);
  split.scalar("split.count", 2, uint16_t{3});
  out.add("split without number", split, "split-missing-key", "split file lacks split.no");
  RawFile none(0, 1);
  none.scalar("split.count", 2, uint16_t{0});
  out.add("split of none", none, "split-count", "says 0 parts, must be 1 to 65535");
  RawFile many(0, 1);
  many.scalar("split.count", 4, uint32_t{65536});
  out.add("split of many", many, "split-count", "says 65536 parts, must be 1 to 65535");
  RawFile outside(0, 3);
  outside.scalar("split.count", 2, uint16_t{3}).scalar("split.no", 2, uint16_t{3});
  outside.scalar("split.tensors.count", 5, int32_t{0});
  out.add("split part outside", outside, "split-no",
          "is part 3, expected part 0 to 2 (counted from 0)");
  RawFile negative(0, 1);
  negative.scalar("split.count", 5, int32_t{-1});
  out.add("split count type", negative, "key-type",
          "key \"split.count\": found i32, expected a non-negative integer");
}

// The values at which a reader of `width`-byte counts goes wrong, given the bytes left after it.
std::vector<uint64_t> boundaries(size_t width, uint64_t left) {
  std::vector<uint64_t> values = {0,     1,         left - 1, left,      left + 1, k2e31 - 1,
                                  k2e31, k2e32 - 1, k2e32,    k2e63 - 1, k2e63,    kMax};
  const uint64_t largest = width == 8 ? kMax : (uint64_t{1} << (8 * width)) - 1;
  for (uint64_t& value : values) value &= largest;
  std::ranges::sort(values);
  const auto end = std::ranges::unique(values).begin();
  values.erase(end, values.end());
  return values;
}

std::vector<RawFile> make_seeds() {
  std::vector<RawFile> seeds;
  seeds.push_back(tiny());

  RawFile scalars(0, 13);
  scalars.scalar("u8", 0, uint8_t{1}).scalar("i8", 1, int8_t{-1}).scalar("u16", 2, uint16_t{2});
  scalars.scalar("i16", 3, int16_t{-2}).scalar("u32", 4, uint32_t{3}).scalar("i32", 5, int32_t{-3});
  scalars.scalar("f32", 6, 0.5f).scalar("bool", 7, uint8_t{1}).string_entry("string", "text");
  scalars.scalar("u64", 10, uint64_t{4}).scalar("i64", 11, int64_t{-4}).scalar("f64", 12, 0.25);
  scalars.key("array", 9).array(3, 3).text(std::string_view("\1\0\2\0\3\0", 6));
  seeds.push_back(scalars);

  RawFile arrays(0, 3, 2);
  arrays.key("tokens", 9).array(8, 3).string("token 0", "a").string("token 1", "");
  arrays.string("token 2", std::string_view("\0\xFF", 2));
  arrays.key("nested", 9).array(9, 2).array(7, 2).text(std::string_view("\0\1", 2));
  arrays.array(8, 1).string("inner string", "deep");
  arrays.key("empty", 9).array(6, 0);
  seeds.push_back(arrays);

  RawFile types(5, 1);
  types.scalar("general.quantization_version", 4, uint32_t{2});
  types.tensor("q4_K", {256, 2}, 12, 0).tensor("i32", {3}, 26, 288).tensor("f16", {3, 2}, 1, 320);
  types.tensor("scalar", {}, 0, 352).tensor("q6_K", {256, 1, 1, 2}, 14, 384);
  seeds.push_back(types.data(384 + 420));

  RawFile unusual(2, 2);  // alignment 8, tensors out of order with a gap, bytes after them
  unusual.scalar("general.alignment", 4, uint32_t{8}).string_entry("key with \xC3\xA9", "x");
  unusual.tensor("late", {2}, 0, 24).tensor("early", {3}, 24, 0);
  seeds.push_back(unusual.data(64, 8));
  return seeds;
}

}  // namespace

const std::vector<RawFile>& seeds() {
  static const std::vector<RawFile> made = make_seeds();
  return made;
}

std::vector<CorpusFile> check_table() {
  Collection out;
  header_rows(out);
  metadata_rows(out);
  tensor_name_rows(out);
  tensor_shape_rows(out);
  tensor_data_rows(out);
  model_rows(out);
  return out.take();
}

std::vector<CorpusFile> known_attacks() {
  Collection out;
  // Sums and products of an attacker's choice.
  out.add("n * 8 wraps to 0", with_array(10, uint64_t{1} << 61), "array-length");
  out.add("n * 8 wraps to 8", with_array(12, (uint64_t{1} << 61) + 1), "array-length");
  out.add("n * 4 wraps to 4", with_array(6, (uint64_t{1} << 62) + 1), "array-length");
  out.add("nested n * 12 wraps", with_array(9, kMax / 12 + 2), "array-length");
  out.add("elements wrap to 0", with_tensor("t", {k2e32, k2e32}, 0, 0), "element-count");
  out.add("elements wrap to 4", with_tensor("t", {k2e32 + 1, k2e32 + 1, 4}, 0, 0), "element-count");
  out.add("bytes wrap to 4", with_tensor("t", {(uint64_t{1} << 62) + 1}, 0, 0), "byte-size");
  out.add("largest f64", with_tensor("t", {uint64_t{1} << 60}, 28, 0), "byte-size");
  out.add("largest q4_K", with_tensor("t", {k2e63 - 256}, 12, 0), "data-bounds");
  out.add("offset + size wraps", with_tensor("t", {8}, 0, kMax - 31), "data-bounds");
  out.add("start + offset wraps", with_tensor("t", {64}, 0, kMax - 63), "data-bounds");
  out.add("key length + position wraps", tiny().set("entry 0: key length", kMax - 31),
          "string-length");
  // An element type that never ends, and a u8 array in the place of an f32 one.
  out.add("array of unknown", with_array(~0u, 5), "array-type");
  RawFile inner(0, 1);
  inner.key("a.list", 9).array(9, 1).array(99, 5).text(std::string(64, '\0'));
  out.add("inner array of unknown", inner, "array-type");
  RawFile long_inner(0, 1);
  long_inner.key("a.list", 9).array(9, 1).array(8, 5).text(std::string(16, '\0'));
  out.add("inner array too long", long_inner, "array-length");
  out.add("scores as u8", with_array(0, 64), "");
  // Many duplicates: must be quick.
  RawFile duplicates(0, 200'000);
  for (int i = 0; i < 200'000; ++i) duplicates.scalar("k", 0, uint8_t{0});
  out.add("200000 duplicate keys", duplicates, "key-duplicate");
  RawFile names(100'000, 0);
  for (uint64_t i = 0; i < 100'000; ++i) names.tensor("n", {1}, 24, i * 32);
  out.add("100000 duplicate names", names.data(3'200'000), "name-duplicate");
  RawFile overlaps(100'000, 0);
  for (int i = 0; i < 100'000; ++i) overlaps.tensor("n" + text(i), {1}, 24, 0);
  out.add("100000 overlaps", overlaps.data(32), "data-overlap");
  // Nesting that is deep or wide.
  RawFile wide(0, 1);
  wide.key("a.wide", 9).array(9, 100'000).text(std::string(1'200'000, '\0'));
  out.add("100000 empty arrays", wide, "");
  RawFile deep(0, 1);
  deep.key("a.deep", 9);
  for (int i = 0; i < 100'000; ++i) deep.array(9, 1);
  out.add("100000 levels", deep, "array-depth");
  return out.take();
}

std::vector<CorpusFile> boundary_values() {
  Collection out;
  for (const RawFile& seed : seeds()) {
    for (const RawField& field : seed.fields()) {
      const uint64_t left = seed.size() - field.position - field.width;
      for (const uint64_t value : boundaries(field.width, left)) {
        out.add(field.name + " is " + text(value), RawFile(seed).set(field, value), "");
      }
    }
  }
  return out.take();
}

std::vector<CorpusFile> corpus() {
  std::vector<CorpusFile> all = check_table();
  for (auto* more : {&known_attacks, &boundary_values}) {
    std::ranges::move((*more)(), std::back_inserter(all));
  }
  return all;
}

}  // namespace quern::test
