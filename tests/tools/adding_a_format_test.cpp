// The worked example of docs/adding-a-format.md against the tree, so that it stays true.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <sstream>
#include <string>

namespace quern {
namespace {

const std::filesystem::path kRoot = QUERN_SOURCE_DIR;

std::string read(const std::filesystem::path& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

// What the document's diffs add, by file.
std::map<std::string, std::string> added_lines() {
  std::istringstream document(read(kRoot / "docs/adding-a-format.md"));
  std::map<std::string, std::string> added;
  std::string line, file;
  while (std::getline(document, line)) {
    if (line.starts_with("```")) {
      file.clear();
    } else if (line.starts_with("+++ b/")) {
      file = line.substr(6);
    } else if (!file.empty() && line.starts_with('+')) {
      added[file] += line.substr(1) + "\n";
    }
  }
  return added;
}

TEST(AddingAFormat, printsTheDifferenceThatTheTreeHas) {
  const auto added = added_lines();
  EXPECT_EQ(added.size(), 5u);
  for (const auto& [file, lines] : added) {
    EXPECT_THAT(read(kRoot / file), testing::HasSubstr(lines)) << file;
  }
}

}  // namespace
}  // namespace quern
