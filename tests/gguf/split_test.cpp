// Models in several files.
#include <gtest/gtest.h>

#include <filesystem>
#include <optional>

#include "gguf/file.h"
#include "gguf/writer.h"
#include "tests/temporary_folder.h"

namespace quern::gguf {
namespace {

std::string part_name(int number, int count) {
  char name[64];
  std::snprintf(name, sizeof name, "m-%05d-of-%05d.gguf", number, count);
  return name;
}

// What part `number` (from 0) of three says; each field can be made wrong.
struct PartSpec {
  std::optional<uint16_t> number;
  std::optional<uint16_t> count = 3;
  std::optional<int32_t> tensors = 3;
  std::string tensor_name;
};

std::vector<std::byte> part_bytes(const PartSpec& spec) {
  Writer writer;
  if (spec.number == 0) writer.set("general.name", std::string("split"));
  if (spec.number) writer.set("split.no", *spec.number);
  if (spec.count) writer.set("split.count", *spec.count);
  if (spec.tensors) writer.set("split.tensors.count", *spec.tensors);
  const auto value = static_cast<std::byte>(spec.number.value_or(9));
  writer.add_tensor(spec.tensor_name, Format::F32, {1}, std::vector<std::byte>(4, value));
  return writer.bytes().value();
}

class Split : public ::testing::Test {
 protected:
  Split() {
    for (uint16_t k = 0; k < 3; ++k) specs_[k] = {k, 3, 3, "t" + std::to_string(k)};
  }

  std::string write(int k) const {
    return folder_.write(part_name(k + 1, 3), part_bytes(specs_[k]));
  }
  Result<File> open(int k = 0) const {
    for (int i = 0; i < 3; ++i) write(i);
    return File::open(folder_.file(part_name(k + 1, 3)));
  }

  test::TemporaryFolder folder_;
  PartSpec specs_[3];
};

TEST_F(Split, joinsTheTensorsOfAllParts) {
  const auto file = open();
  ASSERT_TRUE(file) << file.error().to_string();
  ASSERT_EQ(file->tensors().size(), 3u);
  for (int k = 0; k < 3; ++k) {
    const TensorView* tensor = file->find_tensor("t" + std::to_string(k));
    ASSERT_NE(tensor, nullptr);
    EXPECT_EQ(tensor->bytes[0], static_cast<std::byte>(k));
  }
  EXPECT_EQ(file->text("general.name"), "split");
  EXPECT_TRUE(file->warnings().empty());
  uint64_t size = 0;
  for (int k = 0; k < 3; ++k) size += std::filesystem::file_size(write(k));
  EXPECT_EQ(file->size_bytes(), size);
}

TEST_F(Split, startsWithTheFirstPartWhicheverIsGiven) {
  const auto file = open(2);
  ASSERT_TRUE(file) << file.error().to_string();
  EXPECT_EQ(file->text("general.name"), "split");
  EXPECT_TRUE(file->path().ends_with(part_name(1, 3)));
  ASSERT_EQ(file->warnings().size(), 1u);
  EXPECT_EQ(file->warnings()[0],
            "part 3 of 3 was given; the model starts with \"m-00001-of-00003.gguf\"");
}

TEST_F(Split, opensRenamedPartsFromAList) {
  std::vector<std::string> paths;
  for (int k = 0; k < 3; ++k) {
    paths.push_back(folder_.write("renamed" + std::to_string(k), part_bytes(specs_[k])));
  }
  ASSERT_TRUE(File::open_parts(paths));
  EXPECT_EQ(File::open(paths[0]).error().code, "split-name");

  std::swap(paths[1], paths[2]);
  const Error swapped = File::open_parts(paths).error();
  EXPECT_EQ(swapped.code, "split-no");
  EXPECT_EQ(swapped.message, "is part 2, expected part 1 (counted from 0)");
  EXPECT_EQ(swapped.path, paths[1]);
  paths.pop_back();
  EXPECT_EQ(File::open_parts(paths).error().code, "split-count");
  EXPECT_EQ(File::open_parts({}).error().code, "open");
}

TEST_F(Split, namesTheMissingPart) {
  write(0);
  write(2);
  const Error error = File::open(folder_.file(part_name(1, 3))).error();
  EXPECT_EQ(error.code, "split-missing");
  EXPECT_EQ(error.message, "part 2 of 3 is missing: \"m-00002-of-00003.gguf\"");
}

TEST_F(Split, refusesAFirstPartThatLacksItsKeys) {
  specs_[0].tensors = std::nullopt;
  const Error error = open().error();
  EXPECT_EQ(error.code, "split-missing-key");
  EXPECT_EQ(error.message, "split file lacks split.tensors.count");
}

TEST_F(Split, refusesAMisleadingName) {
  const std::string path = folder_.write(part_name(2, 3), part_bytes(specs_[0]));
  const Error error = File::open(path).error();
  EXPECT_EQ(error.code, "split-name");
  EXPECT_EQ(error.message, "split file must be named NAME-00001-of-00003.gguf");
}

TEST_F(Split, refusesAPartOfAnotherPosition) {
  specs_[1].number = 2;
  const Error error = open().error();
  EXPECT_EQ(error.code, "split-no");
  EXPECT_TRUE(error.path.ends_with(part_name(2, 3)));
}

TEST_F(Split, refusesPartsThatDisagreeOnTheirNumber) {
  specs_[1].count = 4;
  const Error error = open().error();
  EXPECT_EQ(error.code, "split-count");
  EXPECT_EQ(error.message, "says 4 parts, the first says 3");
  specs_[1].count = std::nullopt;
  EXPECT_EQ(open().error().message, "says 1 parts, the first says 3");
}

TEST_F(Split, refusesAWrongTensorTotal) {
  specs_[0].tensors = 4;
  const Error error = open().error();
  EXPECT_EQ(error.code, "split-tensors");
  EXPECT_EQ(error.message, "3 tensors in all parts, 4 expected");
}

TEST_F(Split, refusesANameThatAnotherPartHas) {
  specs_[2].tensor_name = "t0";
  const Error error = open().error();
  EXPECT_EQ(error.code, "name-duplicate");
  EXPECT_EQ(error.message, "duplicate tensor name \"t0\" (tensors 0 and 2)");
  EXPECT_TRUE(error.path.ends_with(part_name(3, 3)));
}

TEST_F(Split, cannotBeOpenedFromMemory) {
  const auto bytes = part_bytes(specs_[0]);
  const Error error = File::from_bytes(bytes, "memory").error();
  EXPECT_EQ(error.code, "split-count");
  EXPECT_EQ(error.message, "says 3 parts, 1 given");
}

}  // namespace
}  // namespace quern::gguf
