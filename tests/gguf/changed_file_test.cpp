// Files that change while they are in use: an error, never a signal.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <filesystem>
#include <numeric>
#include <thread>
#include <vector>

#include "gguf/file.h"
#include "gguf/writer.h"
#include "tests/temporary_folder.h"

namespace quern::gguf {
namespace {

namespace fs = std::filesystem;

class ChangedFile : public testing::Test {
 protected:
  static constexpr uint64_t kBytes = 1 << 20;

  // A file with one tensor of ones.
  std::string write(const char* name) const {
    Writer writer;
    writer.add_tensor("t", Format::F32, {kBytes / 4}, [](std::span<std::byte> out) -> Status {
      std::ranges::fill(out, std::byte{1});
      return {};
    });
    EXPECT_TRUE(writer.write(folder_.file(name)));
    return folder_.file(name);
  }

  static uint64_t sum(const File& file) {
    const auto bytes = file.tensors()[0].bytes;
    return std::accumulate(bytes.begin(), bytes.end(), uint64_t{0}, [](uint64_t sum, std::byte b) {
      return sum + static_cast<uint64_t>(b);
    });
  }

  static std::string code(const Status& status) { return status ? "" : status.error().code; }

  test::TemporaryFolder folder_;
};

TEST_F(ChangedFile, readsZerosWhereItWasTruncated) {
  const std::string path = write("model.gguf");
  const File file = *File::open(path);
  EXPECT_TRUE(file.check_unchanged());
  EXPECT_EQ(sum(file), kBytes);
  fs::resize_file(path, kBytes / 2);
  EXPECT_LT(sum(file), kBytes / 2 + 8192);
  const Status status = file.check_unchanged();
  ASSERT_EQ(code(status), "file-changed");
  EXPECT_EQ(status.error().path, path);
}

// The file is as long as before, but what was read meanwhile was not from it.
TEST_F(ChangedFile, remembersAFaultAfterTheFileIsBack) {
  const std::string path = write("model.gguf");
  const File file = *File::open(path);
  const auto size = fs::file_size(path);
  const auto time = fs::last_write_time(path);
  fs::resize_file(path, 4096);
  EXPECT_LT(sum(file), kBytes);
  fs::resize_file(path, size);
  fs::last_write_time(path, time);
  EXPECT_EQ(code(file.check_unchanged()), "file-changed");
}

TEST_F(ChangedFile, noticesWritesInPlace) {
  const std::string path = write("model.gguf");
  const File file = *File::open(path);
  fs::last_write_time(path, fs::last_write_time(path) + std::chrono::seconds(1));
  EXPECT_EQ(code(file.check_unchanged()), "file-changed");
}

TEST_F(ChangedFile, keepsAFileThatWasReplacedByName) {
  const std::string path = write("model.gguf");
  const File file = *File::open(path);
  fs::rename(write("new.gguf"), path);
  fs::resize_file(path, 100);
  EXPECT_EQ(sum(file), kBytes);
  EXPECT_TRUE(file.check_unchanged());
}

TEST_F(ChangedFile, doesNotConcernACopy) {
  const std::string path = write("model.gguf");
  const File file = *File::open(path, {.access = OpenOptions::Access::kRead});
  fs::resize_file(path, 100);
  EXPECT_EQ(sum(file), kBytes);
  EXPECT_TRUE(file.check_unchanged());
}

TEST_F(ChangedFile, faultsOnManyThreadsAndInOneFileOnly) {
  const std::string path = write("model.gguf");
  const File whole = *File::open(write("whole.gguf")), file = *File::open(path);
  fs::resize_file(path, 4096);
  std::vector<std::jthread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      EXPECT_LT(sum(file), kBytes);
      EXPECT_EQ(sum(whole), kBytes);
    });
  }
  threads.clear();
  EXPECT_EQ(code(file.check_unchanged()), "file-changed");
  EXPECT_TRUE(whole.check_unchanged());
}

// A guard's entry is used again for the next file.
TEST_F(ChangedFile, doesNotConcernTheNextFile) {
  const std::string path = write("model.gguf"), next = write("next.gguf");
  {
    const File file = *File::open(path);
    fs::resize_file(path, 4096);
    EXPECT_LT(sum(file), kBytes);
  }
  const File file = *File::open(next);
  EXPECT_EQ(sum(file), kBytes);
  EXPECT_TRUE(file.check_unchanged());
}

TEST_F(ChangedFile, otherFaultsEndTheProgramAsBefore) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const std::string path = write("model.gguf"), other = write("other.gguf");
  const auto fault_elsewhere = [&] {
    const File file = *File::open(path);
    std::FILE* stream = std::fopen(other.c_str(), "r");
    const auto* memory = static_cast<const char*>(
        ::mmap(nullptr, kBytes, PROT_READ, MAP_PRIVATE, ::fileno(stream), 0));
    fs::resize_file(other, 100);
    std::printf("%d", memory[kBytes - 1]);
  };
  EXPECT_DEATH(fault_elsewhere(), "");
}

}  // namespace
}  // namespace quern::gguf
