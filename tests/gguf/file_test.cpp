// Opening: access modes, warnings, things that are not files, real files.
#include "gguf/file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <ctime>
#include <filesystem>
#include <memory>

#include "gguf/writer.h"
#include "tests/corpus/corpus.h"
#include "tests/golden_path.h"
#include "tests/temporary_folder.h"

namespace quern::gguf {
namespace {

using Access = OpenOptions::Access;

TEST(File, readsTheSameWithEveryKindOfAccess) {
  const test::TemporaryFolder folder;
  const std::string path = folder.write("m.gguf", test::seeds()[3].bytes());
  const uint64_t expected =
      test::read_everything(File::from_bytes(test::seeds()[3].bytes(), "memory").value());
  for (const Access access : {Access::kMap, Access::kMapLocked, Access::kRead}) {
    for (const bool prefetch : {false, true}) {
      auto file = File::open(path, {access, prefetch});
      ASSERT_TRUE(file) << file.error().to_string();
      EXPECT_EQ(test::read_everything(*file), expected);
      EXPECT_EQ(file->path(), path);
    }
  }
}

TEST(File, readAccessSurvivesChangesOfTheFile) {
  const test::TemporaryFolder folder;
  const std::string path = folder.write("m.gguf", test::seeds()[3].bytes());
  const auto file = File::open(path, {.access = Access::kRead}).value();
  const uint64_t before = test::read_everything(file);
  std::filesystem::resize_file(path, 1);
  EXPECT_EQ(test::read_everything(file), before);
}

TEST(File, reportsThatMemoryCannotBeLocked) {
  const test::TemporaryFolder folder;
  const std::string path = folder.write("m.gguf", test::seeds()[0].bytes());
  rlimit old;
  ASSERT_EQ(getrlimit(RLIMIT_MEMLOCK, &old), 0);
  const rlimit none = {0, old.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_MEMLOCK, &none), 0);
  const auto file = File::open(path, {.access = Access::kMapLocked});
  ASSERT_EQ(setrlimit(RLIMIT_MEMLOCK, &old), 0);
  if (geteuid() == 0) {  // the limit does not bind the superuser
    EXPECT_TRUE(file);
    return;
  }
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().code, "lock");
  EXPECT_EQ(file.error().kind, ErrorKind::kFailure);
}

TEST(File, refusesWhatIsNotAFile) {
  const test::TemporaryFolder folder;
  EXPECT_EQ(File::open(folder.file("absent")).error().code, "open");
  EXPECT_EQ(File::open(folder.file("absent")).error().message,
            "cannot open: No such file or directory");
  EXPECT_EQ(File::open(folder.file("")).error().code, "not-regular");
  EXPECT_EQ(File::open("/dev/null").error().code, "not-regular");
  ASSERT_EQ(mkfifo(folder.file("pipe").c_str(), 0600), 0);
  EXPECT_EQ(File::open(folder.file("pipe")).error().code, "not-regular");  // and does not wait
  EXPECT_EQ(File::open(folder.write("empty", {})).error().code, "too-short");
}

TEST(File, errorsOfAFileStartWithItsPath) {
  const test::TemporaryFolder folder;
  const std::string path = folder.write("m.gguf", std::as_bytes(std::span("0123456789", 10)));
  EXPECT_EQ(File::open(path).error().to_string(),
            path + ": 10 bytes is too short for a GGUF header (24 bytes) at byte 0");
}

TEST(File, staysValidWhenMoved) {
  auto first = File::from_bytes(test::seeds()[2].bytes(), "memory").value();
  const uint64_t expected = test::read_everything(first);
  const Value* tokens = first.find("tokens");
  File second = std::move(first);
  EXPECT_EQ(second.find("tokens"), tokens);
  EXPECT_EQ(tokens->string_at(2), std::string_view("\0\xFF", 2));
  EXPECT_EQ(test::read_everything(second), expected);
}

TEST(File, keepsItsContentsWhileItIsShared) {
  const test::TemporaryFolder folder;
  const std::string path = folder.write("m.gguf", test::seeds()[3].bytes());
  for (const Access access : {Access::kMap, Access::kRead}) {
    auto first = std::make_unique<File>(File::open(path, {.access = access}).value());
    const uint64_t expected = test::read_everything(*first);
    const File second = first->share();
    EXPECT_EQ(second.tensors()[0].bytes.data(), first->tensors()[0].bytes.data());
    first.reset();
    EXPECT_EQ(test::read_everything(second), expected);
    EXPECT_TRUE(second.check_unchanged());
  }
}

TEST(File, keepsPlainNumbersApartFromWeights) {
  const auto file = File::from_bytes(test::seeds()[3].bytes(), "memory").value();
  EXPECT_EQ(file.tensors().size(), 4u);
  EXPECT_EQ(file.find_tensor("i32"), nullptr);
  const NumberTensorView* numbers = file.find_number_tensor("i32");
  ASSERT_NE(numbers, nullptr);
  EXPECT_EQ(info(numbers->type).name, "i32");
  EXPECT_EQ(numbers->elements(), 3u);
  EXPECT_EQ(numbers->bytes.size(), 12u);
  // No dimensions at all: one value.
  EXPECT_EQ(file.find_tensor("scalar")->elements(), 1u);
}

TEST(File, countsNestedArraysWithoutReadingThem) {
  const auto file = File::from_bytes(test::seeds()[2].bytes(), "memory").value();
  const Value& nested = *file.find("nested");
  EXPECT_EQ(nested.element_type(), ValueType::kArray);
  EXPECT_EQ(nested.size(), 2u);
  EXPECT_EQ(nested.u64_at(0), std::nullopt);
}

TEST(File, warnsAboutWhatIsUnusualButSafe) {
  const test::RawFile seed = test::seeds()[4];
  const auto file = File::from_bytes(seed.bytes(), "memory").value();
  const std::vector<std::string> expected = {
      "metadata entry 1: key \"key with é\" has characters outside ASCII",
      "tensor \"late\": stored at 24, expected 0: gap or unusual order",
      "32 unused bytes after the tensor data"};
  EXPECT_EQ(std::vector(file.warnings().begin(), file.warnings().end()), expected);

  test::RawFile narrow(0, 1);
  narrow.scalar("general.alignment", 4, uint32_t{4});
  const auto aligned = File::from_bytes(narrow.bytes(), "memory").value();
  ASSERT_EQ(aligned.warnings().size(), 1u);
  EXPECT_EQ(aligned.warnings()[0], "general.alignment is 4; smaller than 8 is unusual");
}

TEST(File, acceptsVersion2AndAFileWithoutTensors) {
  EXPECT_EQ(File::from_bytes(test::seeds()[2].bytes(), "memory")->version(), 2u);
  EXPECT_EQ(File::from_bytes(test::seeds()[1].bytes(), "memory")->tensors().size(), 0u);
}

TEST(File, opensAMillionStringsAndManyTensorsQuickly) {
  Writer writer;
  std::vector<std::string> tokens(1'000'000);
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = "token " + std::to_string(i);
  writer.set("tokens", tokens);
  for (int i = 0; i < 20'000; ++i) {
    writer.add_tensor("t" + std::to_string(i), Format::F32, {1}, std::vector<std::byte>(4));
  }
  const auto bytes = writer.bytes().value();
  const std::clock_t start = std::clock();
  const auto file = File::from_bytes(bytes, "memory").value();
  EXPECT_LT(std::clock() - start, CLOCKS_PER_SEC);
  EXPECT_EQ(file.find("tokens")->string_at(999'999), "token 999999");
  EXPECT_NE(file.find_tensor("t19999"), nullptr);
}

TEST(Golden, bundledModelIsWhatItsCardSays) {
  const auto file = File::open(QUERN_SOURCE_DIR "/models/quern-tiny-stories-Q4_K_M.gguf").value();
  EXPECT_TRUE(file.warnings().empty());
  EXPECT_EQ(file.text("general.architecture"), "llama");
  EXPECT_EQ(file.text("general.license"), "MIT");
  EXPECT_EQ(file.find("llama.block_count")->as_u64(), 6u);
  EXPECT_EQ(file.find("tokenizer.ggml.tokens")->size(), 2048u);
  EXPECT_EQ(file.find("tokenizer.ggml.tokens")->string_at(4), "<|assistant|>");
  uint64_t parameters = 0;
  for (const TensorView& tensor : file.tensors()) parameters += tensor.elements();
  EXPECT_EQ(parameters, 5770496u);
}

TEST(Golden, dequantVectorsHoldEveryFormat) {
  const auto file = File::open(test::own_golden("dequant.gguf")).value();
  EXPECT_TRUE(file.warnings().empty());
  EXPECT_EQ(file.tensors().size(), 4 * kFormatCount);
  for (const FormatInfo& format : kFormats) {
    std::string name(format.name);
    for (char& c : name) c = static_cast<char>(std::toupper(c));
    const TensorView* tensor = file.find_tensor(name + "/random");
    ASSERT_NE(tensor, nullptr) << name;
    EXPECT_EQ(tensor->format, format.format);
    EXPECT_EQ(tensor->row_values(), 1024u);
    EXPECT_EQ(tensor->rows(), 4u);
  }
}

TEST(Golden, logitsFilesHoldTokensAsI32) {
  const auto file = File::open(test::own_golden("models/llama.logits.gguf")).value();
  const NumberTensorView* tokens = file.find_number_tensor("tokens");
  ASSERT_NE(tokens, nullptr);
  EXPECT_EQ(tokens->type, NumberType::kI32);
  EXPECT_EQ(file.find_tensor("exact")->rows(), tokens->elements());
}

TEST(Golden, everySharedFileOpensWithoutWarning) {
  const auto folder = test::shared_golden("");
  if (!folder) GTEST_SKIP() << "no shared golden data";
  size_t opened = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(*folder)) {
    if (entry.path().extension() != ".gguf") continue;
    const auto file = File::open(entry.path().string());
    ASSERT_TRUE(file) << file.error().to_string();
    EXPECT_TRUE(file->warnings().empty()) << entry.path();
    ++opened;
  }
  EXPECT_GE(opened, 50u);
}

}  // namespace
}  // namespace quern::gguf
