// `quern conform`, as a contributor meets it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "gguf/writer.h"
#include "tests/run_program.h"

namespace quern {
namespace {

using test::run_program;
using ::testing::HasSubstr;

TEST(Conform, checksAFormatByAnyCaseOfItsName) {
  const auto result = run_program({"conform", "Q5_k", "--quick"});
  EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
  EXPECT_THAT(result.out, HasSubstr("q5_K"));
  EXPECT_THAT(result.out, HasSubstr("passed"));
}

TEST(Conform, checksADeviceAndPrintsJson) {
  const auto result =
      run_program({"conform", "q4_0", "--quick", "--device", "reference", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto format = nlohmann::json::parse(result.out).at("formats").at(0);
  EXPECT_EQ(format.at("format"), "q4_0");
  size_t of_device = 0;
  for (const auto& check : format.at("checks")) {
    EXPECT_EQ(check.at("state"), "passed") << check;
    of_device += check.at("check").get<std::string>().starts_with("reference: ");
  }
  EXPECT_EQ(of_device, 3u);
}

TEST(Conform, refusesADeviceThatIsNotThere) {
  const auto result = run_program({"conform", "q4_0", "--quick", "--device", "vulkan:no such"});
  EXPECT_NE(result.exit_code, 0);
  EXPECT_EQ(result.out, "");
}

TEST(Conform, saysWhatEvidenceIsMissing) {
  const test::TemporaryFolder folder;
  ASSERT_TRUE(gguf::Writer().write(folder.file("empty.gguf")));
  const auto result =
      run_program({"conform", "q4_0", "--quick", "--golden", folder.file("empty.gguf")});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("1 MISSING"));
  EXPECT_THAT(result.out, HasSubstr("q4_0: MISSING: scalar decode equals the golden blocks"));
}

TEST(Conform, refusesWhatIsNoQuantizedFormat) {
  for (const char* name : {"q9_K", "f16", "q8_1"}) {
    const auto result = run_program({"conform", name, "--quick"});
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_THAT(result.err, HasSubstr(name));
  }
}

TEST(Conform, writesAPageAndFailsWhenGoldenBlocksDiffer) {
  const test::TemporaryFolder folder;
  gguf::Writer writer;
  std::vector<std::byte> values(32 * sizeof(float));  // zeros, but the block stands for something
  writer.add_tensor("sample", gguf::Format::Q4_0, {32},
                    std::vector<std::byte>(18, std::byte{0x21}));
  writer.add_tensor("sample/f32", gguf::Format::F32, {32}, values);
  ASSERT_TRUE(writer.write(folder.file("golden.gguf")));
  const auto result = run_program({"conform", "q4_0", "--quick", "--golden",
                                   folder.file("golden.gguf"), "--md", folder.file("page.md")});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.out, HasSubstr("q4_0: scalar decode"));
  EXPECT_THAT(result.out, HasSubstr("sample, block 0, value 0"));
  std::ifstream in(folder.file("page.md"));
  const std::string page(std::istreambuf_iterator<char>(in), {});
  EXPECT_THAT(page, HasSubstr("| q4_0 | 4.5 |"));
  EXPECT_THAT(page, HasSubstr("FAILED"));
}

}  // namespace
}  // namespace quern
