// `quern inspect`, run as a program: reports, dumps, and one line for every malformed file.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/corpus/corpus.h"
#include "tests/golden_path.h"
#include "tests/json_schema.h"
#include "tests/run_program.h"
#include "tests/temporary_folder.h"

namespace quern {
namespace {

using nlohmann::json;
using test::run_program;
using ::testing::HasSubstr;

const std::string kModel = QUERN_SOURCE_DIR "/models/quern-tiny-stories-Q4_K_M.gguf";

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

size_t lines(const std::string& text) {
  return static_cast<size_t>(std::ranges::count(text, '\n'));
}

std::string schema_violation(const json& report) {
  static const test::JsonSchema schema(QUERN_SOURCE_DIR "/docs/inspect-schema.json");
  return schema.violation(report);
}

TEST(Inspect, tellsAPersonWhatTheModelIs) {
  const auto result = run_program({"inspect", kModel});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.err, "");
  for (const char* text : {"Quern Tiny Stories", "\"llama\"", "\"MIT\"", "5770496", "Q4_K_M",
                           "llama.block_count", "string[2048]", "\"<unk>\", \"<s>\""}) {
    EXPECT_THAT(result.out, HasSubstr(text));
  }
  EXPECT_EQ(result.out.find("blk.0.attn_q.weight"), std::string::npos);
  EXPECT_THAT(
      run_program({"inspect", kModel, "--tensors"}).out,
      ::testing::ContainsRegex("q4_K +\\[256, 768\\] +110592 +\"blk\\.0\\.ffn_gate\\.weight\""));
}

TEST(Inspect, jsonFollowsTheSchema) {
  const auto result = run_program({"inspect", kModel, "--json", "--sha256"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const json report = json::parse(result.out);
  EXPECT_EQ(schema_violation(report), "");
  EXPECT_EQ(report["name"], "Quern Tiny Stories");
  EXPECT_EQ(report["license"], "MIT");
  EXPECT_EQ(report["parameters"], 5770496);
  EXPECT_EQ(report["file_type"], "Q4_K_M");
  EXPECT_EQ(report["quantization"][0]["type"], "q4_K");
  EXPECT_EQ(report["tensors"].size(), 57u);
  EXPECT_EQ(report["bytes"], std::filesystem::file_size(kModel));
  // As computed by sha256sum.
  EXPECT_EQ(report["files"][0]["sha256"],
            "6655a841e444a4b99b8c850596c86581b222c2ee4864e5c6b3ecd9fa6286dbe7");
}

TEST(Inspect, showsWholeArraysOnRequest) {
  const auto tokens = [](const json& report) {
    for (const json& entry : report["metadata"]) {
      if (entry["key"] == "tokenizer.ggml.tokens") return entry;
    }
    return json();
  };
  const json brief = tokens(json::parse(run_program({"inspect", kModel, "--json"}).out));
  EXPECT_EQ(brief["length"], 2048);
  EXPECT_EQ(brief["value"].size(), 8u);
  EXPECT_EQ(brief["complete"], false);
  const json full = tokens(json::parse(run_program({"inspect", kModel, "--json", "--arrays"}).out));
  EXPECT_EQ(full["value"].size(), 2048u);
  EXPECT_EQ(full["complete"], true);
}

TEST(Inspect, dumpsEveryFormatEqualToTheGoldenVectors) {
  const test::TemporaryFolder folder;
  const std::string golden = test::own_golden("dequant.gguf");
  for (const gguf::FormatInfo& format : gguf::kFormats) {
    std::string name(format.name);
    for (char& c : name) c = static_cast<char>(std::toupper(c));
    const std::string decoded = folder.file("decoded"), expected = folder.file("expected");
    ASSERT_EQ(run_program({"inspect", golden, "--dump", name + "/random", "--out", decoded}).err,
              "");
    ASSERT_EQ(
        run_program({"inspect", golden, "--dump", name + "/random/f32", "--out", expected}).err,
        "");
    EXPECT_EQ(std::filesystem::file_size(decoded), 4u * 4096);
    EXPECT_EQ(read_file(decoded), read_file(expected)) << name;
  }
}

TEST(Inspect, dumpsPlainNumbersAsFloats) {
  const test::TemporaryFolder folder;
  const std::string path = test::own_golden("models/llama.logits.gguf");
  ASSERT_EQ(run_program({"inspect", path, "--dump", "tokens", "--out", folder.file("t")}).err, "");
  const std::string bytes = read_file(folder.file("t"));
  const auto file = gguf::File::open(path).value();
  const gguf::NumberTensorView& tokens = *file.find_number_tensor("tokens");
  ASSERT_EQ(bytes.size(), tokens.bytes.size());
  for (size_t i = 0; i < tokens.elements(); ++i) {
    int32_t expected;
    float found;
    std::memcpy(&expected, tokens.bytes.data() + 4 * i, 4);
    std::memcpy(&found, bytes.data() + 4 * i, 4);
    EXPECT_EQ(found, static_cast<float>(expected));
  }
}

TEST(Inspect, refusesToDumpWhatCannotBe) {
  const test::TemporaryFolder folder;
  const std::string model = folder.write("m.gguf", test::seeds()[0].bytes());
  const auto absent = run_program({"inspect", model, "--dump", "x\x1b", "--out", "y"});
  EXPECT_EQ(absent.exit_code, 2);
  EXPECT_EQ(absent.err, "quern: there is no tensor \"x\\x1B\"; --tensors lists the names\n");
  const auto itself = run_program({"inspect", model, "--dump", "first", "--out", model});
  EXPECT_EQ(itself.exit_code, 2);
  EXPECT_THAT(itself.err, HasSubstr("choose another name"));
  EXPECT_EQ(std::filesystem::file_size(model), test::seeds()[0].size());
  EXPECT_EQ(run_program({"inspect", model, "--dump", "first"}).exit_code, 2);
}

TEST(Inspect, printsValidJsonAndHarmlessTextForAnyBytes) {
  const test::TemporaryFolder folder;
  test::RawFile hostile(1, 4);
  hostile.string_entry("general.name", "\x1b]0;title\a\xFF\xC0\x80\"\\\n");
  hostile.string_entry("key \xFF", "x");
  hostile.key("scores", 9).array(6, 3);
  for (const uint32_t bits : {0x7FC00000u, 0x7F800000u, 0xFF800000u}) hostile.number("f", bits);
  hostile.scalar("big", 10, ~uint64_t{0});
  hostile.tensor("t\xFF\x9B", {1}, 0, 0);
  const std::string path = folder.write("m.gguf", hostile.data(32).bytes());

  const auto text = run_program({"inspect", path, "--tensors"});
  EXPECT_EQ(text.exit_code, 0);
  EXPECT_EQ(text.out.find_first_of("\x1b\a\r\xFF\x9B"), std::string::npos);
  const auto result = run_program({"inspect", path, "--json"});
  ASSERT_EQ(result.exit_code, 0);
  EXPECT_TRUE(
      std::ranges::all_of(result.out, [](char c) { return c == '\n' || (c >= 32 && c < 127); }));
  const json report = json::parse(result.out);
  EXPECT_EQ(schema_violation(report), "");
  EXPECT_EQ(report["metadata"][2]["value"], json::array({"nan", "inf", "-inf"}));
  EXPECT_EQ(report["metadata"][3]["value"], ~uint64_t{0});
}

TEST(Inspect, worksOnAllSeedsAndSaysWhatIsUnusual) {
  const test::TemporaryFolder folder;
  for (const test::RawFile& seed : test::seeds()) {
    const std::string path = folder.write("m.gguf", seed.bytes());
    const auto result = run_program({"inspect", path, "--json"});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const json report = json::parse(result.out);
    EXPECT_EQ(schema_violation(report), "");
    EXPECT_EQ(lines(result.err), report["warnings"].size());
  }
}

// Every row of the table of checks, the attacks on other engines, and a sample of the boundary
// values (all of them run in memory in gguf_test).
TEST(Inspect, refusesMalformedFilesInOneLineWithExitCode2) {
  const test::TemporaryFolder folder;
  std::vector<test::CorpusFile> files = test::check_table();
  std::ranges::move(test::known_attacks(), std::back_inserter(files));
  const auto boundaries = test::boundary_values();
  for (size_t i = 0; i < boundaries.size(); i += 10) files.push_back(boundaries[i]);
  ASSERT_GE(files.size(), 150u);
  for (const test::CorpusFile& file : files) {
    const std::string path = folder.write("m.gguf", file.bytes);
    const auto result = run_program({"inspect", path});
    EXPECT_LT(result.cpu_seconds, 1) << file.name;
    if (result.exit_code == 0 && file.code.empty()) continue;
    EXPECT_EQ(result.exit_code, 2) << file.name;
    EXPECT_EQ(result.out, "") << file.name;
    EXPECT_EQ(lines(result.err), 1u) << file.name << ": " << result.err;
    EXPECT_THAT(result.err, ::testing::StartsWith("quern: " + path + ": " + file.message))
        << file.name;
  }
}

}  // namespace
}  // namespace quern
