// `quern quantize`, as a user meets it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "engine/importance.h"
#include "engine/requantize.h"
#include "gguf/writer.h"
#include "tests/run_program.h"

namespace quern {
namespace {

using gguf::Format;
using nlohmann::json;
using test::run_program;
using ::testing::HasSubstr;

const std::string kModel = QUERN_SOURCE_DIR "/models/quern-tiny-stories-Q4_K_M.gguf";

gguf::File open(const std::string& path) {
  auto file = gguf::File::open(path);
  if (!file) throw std::runtime_error(file.error().to_string());
  return std::move(*file);
}

// A file with a matrix of `values` in F32, and a table of numbers.
std::string write_model(const test::TemporaryFolder& folder, const std::vector<float>& values) {
  gguf::Writer writer;
  writer.set("general.architecture", std::string("llama"));
  writer.set("llama.block_count", uint32_t{1});
  const auto bytes = std::as_bytes(std::span(values));
  writer.add_tensor("blk.0.ffn_up.weight", Format::F32, {256, values.size() / 256},
                    {bytes.begin(), bytes.end()});
  EXPECT_TRUE(writer.write(folder.file("model.gguf")));
  return folder.file("model.gguf");
}

std::vector<float> ramp(size_t count) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = static_cast<float>(i * 7919 % 1000) - 499.5f;
  return values;
}

TEST(Quantize, writesTheMixAndKeepsTheMetadata) {
  const test::TemporaryFolder folder;
  const auto result =
      run_program({"quantize", kModel, folder.file("out.gguf"), "q5_k_m", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const gguf::File before = open(kModel), after = open(folder.file("out.gguf"));
  EXPECT_EQ(after.find_tensor("blk.3.ffn_up.weight")->format, Format::Q5_K);
  EXPECT_EQ(after.find_tensor("output.weight")->format, Format::Q6_K);
  EXPECT_EQ(after.find_tensor("output_norm.weight")->format, Format::F32);
  EXPECT_EQ(after.tensors().size(), before.tensors().size());
  EXPECT_EQ(after.find("general.file_type")->as_u64(), 17u);
  EXPECT_EQ(after.text("tokenizer.chat_template"), before.text("tokenizer.chat_template"));
  const json report = json::parse(result.out);
  EXPECT_EQ(report["tensors"].size(), after.tensors().size());
  EXPECT_GT(report["bits_per_weight"], 5.5);
  EXPECT_LT(report["relative_rms_error"], 0.05);
  EXPECT_THAT(result.err, HasSubstr("quantized already"));
}

TEST(Quantize, copiesTensorsThatKeepTheirFormat) {
  const test::TemporaryFolder folder;
  ASSERT_EQ(run_program({"quantize", kModel, folder.file("out.gguf"), "Q4_K_M"}).exit_code, 0);
  const gguf::File before = open(kModel), after = open(folder.file("out.gguf"));
  for (const gguf::TensorView& tensor : before.tensors()) {
    EXPECT_TRUE(std::ranges::equal(tensor.bytes, after.find_tensor(tensor.name)->bytes))
        << tensor.name;
  }
}

TEST(Quantize, refusesToOverwriteWhatItReadsUnderAnyName) {
  const test::TemporaryFolder folder;
  const std::string model = write_model(folder, ramp(512));
  std::filesystem::create_hard_link(model, folder.file("other.gguf"));
  std::filesystem::create_symlink(model, folder.file("link.gguf"));
  for (const char* name : {"model.gguf", "other.gguf", "link.gguf"}) {
    const auto result = run_program({"quantize", model, folder.file(name), "Q8_0"});
    EXPECT_EQ(result.exit_code, 2) << name;
    EXPECT_THAT(result.err, HasSubstr("choose another name"));
  }
  EXPECT_EQ(open(model).find_tensor("blk.0.ffn_up.weight")->format, Format::F32);
}

TEST(Quantize, dryRunWritesNothing) {
  const test::TemporaryFolder folder;
  const auto result =
      run_program({"quantize", kModel, folder.file("out.gguf"), "Q2_K", "--dry-run"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.out, HasSubstr("nothing written"));
  EXPECT_FALSE(std::filesystem::exists(folder.file("out.gguf")));
}

TEST(Quantize, patternsLeaveVectorsAmongMatricesAsTheyAre) {
  const test::TemporaryFolder folder;
  const auto result = run_program({"quantize", kModel, folder.file("out.gguf"), "Q4_0", "--tensor",
                                   "blk.*.ffn_*=q2_K", "--dry-run", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto report = nlohmann::json::parse(result.out);
  for (const auto& tensor : report.at("tensors")) {
    const std::string name = tensor.at("name");
    if (name.find(".ffn_") == std::string::npos) continue;
    EXPECT_EQ(tensor.at("to"), name.find("norm") == std::string::npos ? "q2_K" : "f32") << name;
  }
}

TEST(Quantize, patternsChooseOtherFormatsAndTheLastOneCounts) {
  const test::TemporaryFolder folder;
  const auto result = run_program(
      {"quantize", kModel, folder.file("out.gguf"), "Q4_0", "--tensor", "blk.*_norm.weight=q2_K"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("is no matrix"));
  ASSERT_EQ(run_program({"quantize", kModel, folder.file("out.gguf"), "Q4_0", "--tensor",
                         "blk.*_up.weight=q2_K", "--tensor", "blk.5.*_up.weight=q8_0"})
                .exit_code,
            0);
  const gguf::File after = open(folder.file("out.gguf"));
  EXPECT_EQ(after.find_tensor("blk.4.ffn_up.weight")->format, Format::Q2_K);
  EXPECT_EQ(after.find_tensor("blk.5.ffn_up.weight")->format, Format::Q8_0);
  EXPECT_EQ(after.find_tensor("blk.5.ffn_gate.weight")->format, Format::Q4_0);
}

TEST(Quantize, namesWhatIsWrongInTheArguments) {
  const test::TemporaryFolder folder;
  const std::string out = folder.file("out.gguf");
  const auto message = [&](std::vector<std::string> more) {
    std::vector<std::string> arguments = {"quantize", kModel, out};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const auto result = run_program(arguments);
    EXPECT_EQ(result.exit_code, 2) << result.err;
    return result.err;
  };
  EXPECT_THAT(message({"Q9_K"}), HasSubstr("no type \"Q9_K\""));
  EXPECT_THAT(message({"Q4_0", "--tensor", "q4_0"}), HasSubstr("PATTERN=TYPE"));
  EXPECT_THAT(message({"Q4_0", "--tensor", "blk.*=q9"}), HasSubstr("PATTERN=TYPE"));
  EXPECT_THAT(message({"Q4_0", "--tensor", "nothing=q4_0"}), HasSubstr("no tensor"));
  EXPECT_THAT(message({"Q4_0", "--imatrix", kModel}), HasSubstr("no importance data"));
  EXPECT_FALSE(std::filesystem::exists(out));
}

TEST(Quantize, refusesValuesThatAreNoNumbers) {
  const test::TemporaryFolder folder;
  std::vector<float> values = ramp(512);
  values[300] = std::numeric_limits<float>::quiet_NaN();
  const auto result =
      run_program({"quantize", write_model(folder, values), folder.file("out.gguf"), "Q4_0"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("blk.0.ffn_up.weight"));
  EXPECT_FALSE(std::filesystem::exists(folder.file("out.gguf")));
}

TEST(Quantize, importanceLowersTheErrorOfWhatMatters) {
  const test::TemporaryFolder folder;
  const std::string model = write_model(folder, ramp(256 * 8));
  engine::Importance importance;
  std::vector<float> squares(256, 0.01f);
  for (size_t i = 0; i < 256; i += 16) squares[i] = 100;
  importance.tensors["blk.0.ffn_up.weight"] = {256, squares, {4}};
  ASSERT_TRUE(importance.write(folder.file("imatrix.gguf"), "none"));
  const auto error = [&](std::vector<std::string> more) {
    std::vector<std::string> arguments = {"quantize", model, folder.file("out.gguf"), "Q2_K"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    EXPECT_EQ(run_program(arguments).exit_code, 0);
    std::vector<std::byte> decoded(256 * 8 * sizeof(float));
    const gguf::File out = open(folder.file("out.gguf"));
    const auto& tensor = *out.find_tensor("blk.0.ffn_up.weight");
    kernels::Quantizer(1).convert({tensor.format, 256}, tensor.bytes, Format::F32, {}, decoded);
    const auto* values = reinterpret_cast<const float*>(decoded.data());
    const std::vector<float> wanted = ramp(256 * 8);
    double sum = 0;
    for (size_t i = 0; i < wanted.size(); i += 16) sum += std::pow(values[i] - wanted[i], 2);
    return sum;
  };
  EXPECT_LT(error({"--imatrix", folder.file("imatrix.gguf")}), 0.2 * error({}));
}

TEST(Quantize, copiesTablesOfNumbers) {
  const test::TemporaryFolder folder;
  const std::string golden = QUERN_SOURCE_DIR "/tests/golden/models";
  for (const auto& entry : std::filesystem::directory_iterator(golden)) {
    const gguf::File before = open(entry.path().string());
    if (before.number_tensors().empty()) continue;
    gguf::Writer writer;
    for (const auto& numbers : before.number_tensors()) writer.copy(numbers);
    ASSERT_TRUE(writer.write(folder.file("numbers.gguf")));
    const gguf::File after = open(folder.file("numbers.gguf"));
    for (const auto& numbers : before.number_tensors()) {
      const auto* copy = after.find_number_tensor(numbers.name);
      ASSERT_NE(copy, nullptr);
      EXPECT_EQ(copy->shape, numbers.shape);
      EXPECT_TRUE(std::ranges::equal(copy->bytes, numbers.bytes));
    }
    return;
  }
  FAIL() << "no golden file has numbers";
}

}  // namespace
}  // namespace quern
