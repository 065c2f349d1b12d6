// What Writer writes, File reads back.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <limits>
#include <random>

#include "gguf/file.h"
#include "gguf/writer.h"
#include "tests/corpus/corpus.h"
#include "tests/temporary_folder.h"

namespace quern::gguf {
namespace {

// A File and the memory it reads from.
struct Opened {
  std::vector<std::byte> bytes;
  File file;
};

Opened reopen(const Writer& writer) {
  std::vector<std::byte> bytes = writer.bytes().value();
  auto file = File::from_bytes(bytes, "memory");
  if (!file) throw std::runtime_error(file.error().to_string());
  return {std::move(bytes), std::move(*file)};
}

TEST(RoundTrip, everyScalarType) {
  Writer writer;
  writer.set("u8", uint8_t{255});
  writer.set("i8", int8_t{-128});
  writer.set("u16", uint16_t{65535});
  writer.set("i16", int16_t{-32768});
  writer.set("u32", uint32_t{4294967295});
  writer.set("i32", std::numeric_limits<int32_t>::min());
  writer.set("f32", 0.1f);
  writer.set("bool", true);
  writer.set("string", std::string("a\0b", 3));
  writer.set("u64", std::numeric_limits<uint64_t>::max());
  writer.set("i64", std::numeric_limits<int64_t>::min());
  writer.set("f64", 0.1);
  const Opened opened = reopen(writer);
  const auto value = [&](std::string_view key) -> const Value& { return *opened.file.find(key); };

  EXPECT_EQ(value("u8").as_u64(), 255u);
  EXPECT_EQ(value("i8").as_i64(), -128);
  EXPECT_EQ(value("u16").as_u64(), 65535u);
  EXPECT_EQ(value("i16").as_i64(), -32768);
  EXPECT_EQ(value("u32").as_u64(), 4294967295u);
  EXPECT_EQ(value("i32").as_i64(), std::numeric_limits<int32_t>::min());
  EXPECT_EQ(value("f32").as_f64(), static_cast<double>(0.1f));
  EXPECT_EQ(value("bool").as_bool(), true);
  EXPECT_EQ(value("string").as_string(), std::string_view("a\0b", 3));
  EXPECT_EQ(value("u64").as_u64(), std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(value("i64").as_i64(), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(value("f64").as_f64(), 0.1);
  for (const MetadataEntry& entry : opened.file.metadata()) {
    EXPECT_EQ(name(entry.value.type()), entry.key);
  }
}

TEST(RoundTrip, gettersRefuseWhatWouldLoseInformation) {
  Writer writer;
  writer.set("negative", int32_t{-1});
  writer.set("large", std::numeric_limits<uint64_t>::max());
  writer.set("float", 1.0f);
  writer.set("bool", true);
  writer.set("text", std::string("1"));
  const Opened opened = reopen(writer);
  const auto value = [&](std::string_view key) -> const Value& { return *opened.file.find(key); };

  EXPECT_EQ(value("negative").as_u64(), std::nullopt);
  EXPECT_EQ(value("negative").as_i64(), -1);
  EXPECT_EQ(value("negative").as_f64(), -1.0);
  EXPECT_EQ(value("large").as_i64(), std::nullopt);
  EXPECT_EQ(value("large").as_f64(), 0x1p64);
  EXPECT_EQ(value("float").as_u64(), std::nullopt);
  EXPECT_EQ(value("bool").as_u64(), std::nullopt);
  EXPECT_EQ(value("text").as_u64(), std::nullopt);
  EXPECT_EQ(value("text").as_bool(), std::nullopt);
  EXPECT_EQ(value("text").u64_at(0), std::nullopt);
  EXPECT_EQ(value("float").as_string(), std::nullopt);
  EXPECT_EQ(opened.file.find("absent"), nullptr);
  EXPECT_EQ(opened.file.text("float", "fallback"), "fallback");
  EXPECT_EQ(opened.file.text("text"), "1");
}

TEST(RoundTrip, everyArrayType) {
  Writer writer;
  writer.set("u8", std::vector<uint8_t>{1, 255});
  writer.set("i32", std::vector<int32_t>{-1, 2});
  writer.set("u32", std::vector<uint32_t>{7, 4294967295});
  writer.set("f32", std::vector<float>{0.5f, -2.0f});
  writer.set("bool", std::vector<bool>{true, false});
  writer.set("string", std::vector<std::string>{"one", "", "three"});
  writer.set("empty", std::vector<std::string>{});
  const Opened opened = reopen(writer);
  const auto value = [&](std::string_view key) -> const Value& { return *opened.file.find(key); };

  EXPECT_EQ(value("u8").u64_at(1), 255u);
  EXPECT_EQ(value("i32").i64_at(0), -1);
  EXPECT_EQ(value("i32").u64_at(0), std::nullopt);
  EXPECT_EQ(value("u32").u64_at(1), 4294967295u);
  EXPECT_EQ(value("f32").f64_at(1), -2.0);
  EXPECT_EQ(value("bool").bool_at(0), true);
  EXPECT_EQ(value("bool").bool_at(1), false);
  EXPECT_EQ(value("bool").u64_at(0), std::nullopt);
  EXPECT_EQ(value("string").string_at(0), "one");
  EXPECT_EQ(value("string").string_at(1), "");
  EXPECT_EQ(value("string").string_at(2), "three");
  EXPECT_EQ(value("string").string_at(3), std::nullopt);
  EXPECT_EQ(value("u8").u64_at(2), std::nullopt);
  EXPECT_EQ(value("empty").size(), 0u);
  EXPECT_EQ(value("empty").string_at(0), std::nullopt);
}

TEST(RoundTrip, everyFormatAndShape) {
  Writer writer;
  std::mt19937 random(1);
  std::vector<std::vector<std::byte>> data;
  for (const FormatInfo& format : kFormats) {
    const uint64_t row = format.block_values * 3;
    for (const auto& shape : {std::vector<uint64_t>{row}, {row, 5}, {row, 2, 3}, {row, 1, 2, 2}}) {
      uint64_t rows = 1;
      for (size_t k = 1; k < shape.size(); ++k) rows *= shape[k];
      std::vector<std::byte>& bytes = data.emplace_back(format.row_bytes(row) * rows);
      for (std::byte& b : bytes) b = static_cast<std::byte>(random());
      writer.add_tensor(std::string(format.name) + "." + std::to_string(shape.size()),
                        format.format, shape, bytes);
    }
  }
  const Opened opened = reopen(writer);

  EXPECT_TRUE(opened.file.warnings().empty());
  ASSERT_EQ(opened.file.tensors().size(), data.size());
  for (size_t i = 0; i < data.size(); ++i) {
    const TensorView& tensor = opened.file.tensors()[i];
    EXPECT_EQ(tensor.format, kFormats[i / 4].format);
    EXPECT_EQ(tensor.dims, i % 4 + 1);
    EXPECT_EQ(tensor.row_values(), info(tensor.format).block_values * 3);
    EXPECT_EQ(tensor.row_bytes() * tensor.rows(), tensor.bytes.size());
    EXPECT_TRUE(std::ranges::equal(tensor.bytes, data[i])) << tensor.name;
    EXPECT_EQ(opened.file.find_tensor(tensor.name), &tensor);
  }
  EXPECT_EQ(opened.file.find_tensor("absent"), nullptr);
}

TEST(RoundTrip, keepsAnUnusualAlignment) {
  for (const uint32_t alignment : {1u, 8u, 32u, 4096u}) {
    Writer writer(alignment);
    writer.add_tensor("a", Format::F32, {1}, std::vector<std::byte>(4, std::byte{1}));
    writer.add_tensor("b", Format::F32, {1}, std::vector<std::byte>(4, std::byte{2}));
    const Opened opened = reopen(writer);
    EXPECT_EQ(opened.file.find("general.alignment") != nullptr, alignment != 32);
    EXPECT_EQ(opened.file.tensors()[1].bytes[0], std::byte{2});
    EXPECT_EQ(opened.bytes.size() % alignment, 0u);
  }
}

TEST(RoundTrip, copiesEntriesOfAnyKindUnchanged) {
  for (const test::RawFile& seed : test::seeds()) {
    const auto original = File::from_bytes(seed.bytes(), "seed").value();
    Writer writer;
    for (const MetadataEntry& entry : original.metadata()) {
      if (entry.key != "general.alignment") writer.copy(entry);
    }
    const Opened copied = reopen(writer);
    for (const MetadataEntry& entry : copied.file.metadata()) {
      const Value& expected = *original.find(entry.key);
      EXPECT_EQ(entry.value.type(), expected.type()) << entry.key;
      EXPECT_EQ(entry.value.element_type(), expected.element_type());
      EXPECT_EQ(entry.value.size(), expected.size());
      EXPECT_TRUE(std::ranges::equal(entry.value.bytes(), expected.bytes())) << entry.key;
    }
  }
}

TEST(Writer, replacesAnEarlierValueInPlace) {
  Writer writer;
  writer.set("a", uint32_t{1});
  writer.set("b", uint32_t{2});
  writer.set("a", std::string("new"));
  const Opened opened = reopen(writer);
  ASSERT_EQ(opened.file.metadata().size(), 2u);
  EXPECT_EQ(opened.file.metadata()[0].key, "a");
  EXPECT_EQ(opened.file.text("a"), "new");
}

TEST(Writer, writesTheSameFileToDiskAsToMemory) {
  const test::TemporaryFolder folder;
  Writer writer;
  writer.set("general.name", std::string("disk"));
  writer.add_tensor("t", Format::F32, {2}, std::vector<std::byte>(8, std::byte{3}));
  ASSERT_TRUE(writer.write(folder.file("m.gguf")));
  const auto file = File::open(folder.file("m.gguf")).value();
  EXPECT_EQ(file.size_bytes(), writer.bytes()->size());
  EXPECT_EQ(file.text("general.name"), "disk");
}

TEST(Writer, leavesTheOldFileAndNoRubbishWhenATensorFails) {
  const test::TemporaryFolder folder;
  const std::string path = folder.write("m.gguf", std::as_bytes(std::span("old", 3)));
  Writer writer;
  writer.add_tensor("t", Format::F32, {2}, [](std::span<std::byte>) -> Status {
    return fail(ErrorKind::kFailure, "test", "no data");
  });
  EXPECT_EQ(writer.write(path).error().code, "test");
  EXPECT_EQ(std::filesystem::file_size(path), 3u);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.file("")), {}), 1);
}

TEST(Writer, refusesTargetsThatAreNotFiles) {
  const test::TemporaryFolder folder;
  EXPECT_EQ(Writer().write("/dev/null").error().code, "write");
  EXPECT_EQ(Writer().write(folder.file("")).error().code, "write");
  EXPECT_EQ(Writer().write(folder.file("absent/m.gguf")).error().code, "write");
}

}  // namespace
}  // namespace quern::gguf
