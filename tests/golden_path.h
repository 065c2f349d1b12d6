// Where tests find reference data.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace quern::test {

// Reference data that belongs to the project: tests/golden/RELATIVE.
inline std::string own_golden(std::string_view relative) {
  return (std::filesystem::path(QUERN_SOURCE_DIR) / "tests/golden" / relative).string();
}

// Reference data beside the checkout that may not be there (other people's vocabularies, larger
// models): golden/RELATIVE of the shared folder. A test that gets nullopt calls GTEST_SKIP.
inline std::optional<std::string> shared_golden(std::string_view relative) {
  // A worktree lies one level deeper than a checkout, so look upwards.
  const std::filesystem::path source = QUERN_SOURCE_DIR;
  for (const auto& base : {source / "..", source / "../.."}) {
    const auto path = base / "shared/golden" / relative;
    std::error_code error;
    if (std::filesystem::exists(path, error)) return path.string();
  }
  return std::nullopt;
}

}  // namespace quern::test
