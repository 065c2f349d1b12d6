#include "gguf/read_ahead.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <vector>

#include "gguf/file.h"
#include "gguf/os_file.h"
#include "tests/temporary_folder.h"

namespace quern::gguf {
namespace {

constexpr size_t kPage = 4096;

bool resident(const std::byte* page) {
  unsigned char present = 0;
  EXPECT_EQ(::mincore(const_cast<std::byte*>(page), kPage, &present), 0);
  return (present & 1) != 0;
}

TEST(ReadAhead, bringsMappedBytesFromTheDisk) {
  const test::TemporaryFolder folder;
  const std::string path = folder.write("file", std::vector<std::byte>(64 * kPage, std::byte{7}));
  const int file = ::open(path.c_str(), O_RDWR);
  ASSERT_EQ(::fsync(file), 0);
  ::posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
  ::close(file);
  const Contents contents = *Contents::open(path, {});
  const std::byte* last = contents.bytes().data() + 63 * kPage;
  if (resident(last)) GTEST_SKIP() << "this file system keeps its files in memory";
  read_ahead(contents.bytes().subspan(40 * kPage + 5, 24 * kPage - 10));  // no border of a page
  const auto start = std::chrono::steady_clock::now();
  while (!resident(last) && std::chrono::steady_clock::now() - start < std::chrono::seconds(20)) {
  }
  EXPECT_TRUE(resident(last));
  EXPECT_EQ(*last, std::byte{7});
}

TEST(ReadAhead, leavesOtherMemoryAsItIs) {
  const std::vector<std::byte> bytes(3 * kPage, std::byte{5});
  read_ahead(bytes);
  read_ahead({});
  EXPECT_EQ(bytes, std::vector<std::byte>(3 * kPage, std::byte{5}));
}

}  // namespace
}  // namespace quern::gguf
