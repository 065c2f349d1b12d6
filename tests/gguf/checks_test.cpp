// Every row of the table of checks, and what broke other engines: refused with the right code and
// the complete message.
#include <gtest/gtest.h>

#include <ctime>
#include <set>

#include "gguf/file.h"
#include "tests/corpus/corpus.h"

namespace quern::gguf {
namespace {

// Errors of one file in memory always say where, what was found and what would have been right.
void expect_complete(const Error& error, const std::string& name) {
  EXPECT_EQ(error.path, "m.gguf") << name;
  EXPECT_FALSE(error.field.empty()) << name;
  EXPECT_FALSE(error.found.empty()) << name;
  EXPECT_FALSE(error.allowed.empty()) << name;
  EXPECT_TRUE(error.offset.has_value() || error.code == "split-missing-key") << name;
  EXPECT_NE(error.kind, ErrorKind::kFailure) << name;
  EXPECT_EQ(error.to_string().find_first_of("\n\r\t\x1b"), std::string::npos) << name;
}

void expect_refused(const test::CorpusFile& file) {
  const std::clock_t start = std::clock();  // processor time: the neighbours do not count
  const auto opened = File::from_bytes(file.bytes, "m.gguf");
  EXPECT_LT(std::clock() - start, CLOCKS_PER_SEC) << file.name;
  if (file.code.empty()) return;
  ASSERT_FALSE(opened) << file.name;
  EXPECT_EQ(opened.error().code, file.code) << file.name << ": " << opened.error().message;
  if (!file.message.empty()) {
    EXPECT_EQ(opened.error().message, file.message) << file.name;
  }
  expect_complete(opened.error(), file.name);
}

TEST(Checks, refuseEveryRowOfTheTable) {
  for (const test::CorpusFile& file : test::check_table()) expect_refused(file);
}

TEST(Checks, coverTheWholeTable) {
  const std::set<std::string> kRows = {"too-short",
                                       "magic",
                                       "big-endian",
                                       "version-1",
                                       "version",
                                       "tensor-count",
                                       "metadata-count",
                                       "truncated",
                                       "string-length",
                                       "key-empty",
                                       "key-length",
                                       "key-chars",
                                       "key-duplicate",
                                       "value-type",
                                       "bool-value",
                                       "array-type",
                                       "array-length",
                                       "array-depth",
                                       "alignment-type",
                                       "alignment-value",
                                       "name-empty",
                                       "name-length",
                                       "name-chars",
                                       "name-duplicate",
                                       "n-dims",
                                       "dim-zero",
                                       "dim-range",
                                       "element-count",
                                       "tensor-type",
                                       "tensor-type-removed",
                                       "tensor-type-internal",
                                       "row-length",
                                       "byte-size",
                                       "offset-align",
                                       "data-start",
                                       "data-bounds",
                                       "data-overlap",
                                       "split-missing-key",
                                       "split-count",
                                       "split-no",
                                       "quant-version",
                                       "key-type"};
  std::set<std::string> seen;
  for (const test::CorpusFile& file : test::check_table()) seen.insert(file.code);
  EXPECT_EQ(seen, kRows);
}

TEST(Checks, refuseWhatBrokeOtherEnginesQuickly) {
  for (const test::CorpusFile& file : test::known_attacks()) expect_refused(file);
}

TEST(Checks, offsetPointsAtTheField) {
  const test::RawFile seed = test::seeds()[0];
  const struct {
    const char* field;
    uint64_t value;
    const char* code;
  } kCases[] = {{"version", 9, "version"},
                {"tensor count", 1000, "tensor-count"},
                {"metadata count", 1000, "metadata-count"},
                {"entry 0: key length", 0, "key-empty"},
                {"entry 0: type", 77, "value-type"},
                {"tensor 0: name length", 0, "name-empty"},
                {"tensor 0: dimensions", 5, "n-dims"},
                {"tensor 0: dimension 1", 0, "dim-zero"},
                {"tensor 1: type", 9, "tensor-type-internal"},
                {"tensor 1: offset", 1, "offset-align"},
                {"tensor 1: offset", 1 << 20, "data-bounds"},
                {"tensor 1: offset", 0, "data-overlap"}};
  for (const auto& c : kCases) {
    const test::RawFile changed = test::RawFile(seed).set(c.field, c.value);
    const auto opened = File::from_bytes(changed.bytes(), "m.gguf");
    ASSERT_FALSE(opened) << c.field;
    EXPECT_EQ(opened.error().code, c.code);
    EXPECT_EQ(opened.error().offset, seed.at(c.field).position) << c.field;
  }
}

}  // namespace
}  // namespace quern::gguf
