// Damaged files: refused with a complete error, or accepted and then fully readable.
#include <gtest/gtest.h>

#include "gguf/file.h"
#include "tests/corpus/corpus.h"

namespace quern::gguf {
namespace {

// Opens from a copy of exactly the file's size, so that a sanitizer sees a read past its end.
// Returns whether the file was accepted.
bool open_and_read(std::span<const std::byte> bytes, const std::string& what) {
  const std::vector<std::byte> exact(bytes.begin(), bytes.end());
  const auto opened = File::from_bytes(exact, "m.gguf");
  if (opened) {
    test::read_everything(*opened);
    return true;
  }
  const Error& error = opened.error();
  EXPECT_FALSE(error.code.empty() || error.message.empty() || error.field.empty()) << what;
  EXPECT_FALSE(error.found.empty() || error.allowed.empty()) << what << ": " << error.message;
  EXPECT_EQ(error.to_string().find('\n'), std::string::npos) << what;
  return false;
}

TEST(Robustness, seedsAreValid) {
  for (const test::RawFile& seed : test::seeds()) {
    const auto opened = File::from_bytes(seed.bytes(), "seed");
    ASSERT_TRUE(opened) << opened.error().to_string();
  }
}

TEST(Robustness, survivesBoundaryValuesInEveryField) {
  const auto files = test::boundary_values();
  EXPECT_GT(files.size(), 400u);
  size_t accepted = 0;
  for (const test::CorpusFile& file : files) accepted += open_and_read(file.bytes, file.name);
  EXPECT_GT(accepted, 0u);  // for example, another value of a scalar
  EXPECT_LT(accepted, files.size() / 2);
}

TEST(Robustness, survivesTruncationAtEveryByte) {
  for (const test::RawFile& seed : test::seeds()) {
    for (size_t size = 0; size < seed.size(); ++size) {
      const bool accepted =
          open_and_read(std::span(seed.bytes()).first(size), "cut at " + std::to_string(size));
      // Only padding and unused bytes at the end may be missing.
      EXPECT_FALSE(accepted && size < seed.header_size()) << size;
    }
  }
}

TEST(Robustness, survivesAFlipOfEveryHeaderBit) {
  for (const test::RawFile& seed : test::seeds()) {
    std::vector<std::byte> bytes = seed.bytes();
    for (size_t bit = 0; bit < seed.header_size() * 8; ++bit) {
      bytes[bit / 8] ^= std::byte{1} << (bit % 8);
      open_and_read(bytes, "bit " + std::to_string(bit));
      bytes[bit / 8] ^= std::byte{1} << (bit % 8);
    }
  }
}

}  // namespace
}  // namespace quern::gguf
