// `quern imatrix`: what it writes, and what that is good for.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "engine/importance.h"
#include "engine/quality.h"
#include "tests/run_program.h"

namespace quern {
namespace {

using test::run_program;
using ::testing::HasSubstr;

const std::string kModel = QUERN_SOURCE_DIR "/models/quern-tiny-stories-Q4_K_M.gguf";
const std::string kText = QUERN_SOURCE_DIR "/tests/golden/validation.txt";

TEST(Imatrix, holdsTheSumsOfEveryMatrix) {
  const test::TemporaryFolder folder;
  const std::string path = folder.file("imatrix.gguf");
  const auto result =
      run_program({"imatrix", kModel, kText, "-o", path, "--context", "64", "--chunks", "2"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto importance = engine::Importance::read(path);
  ASSERT_TRUE(importance) << importance.error().message;
  EXPECT_EQ(importance->tensors.size(), 6u * 7 + 1);
  EXPECT_EQ(importance->chunks, 2u);
  EXPECT_EQ(importance->chunk_size, 64u);
  const auto& gate = importance->tensors.at("blk.3.ffn_gate.weight");
  EXPECT_EQ(gate.columns, 256u);
  EXPECT_EQ(gate.counts,
            std::vector<float>{2 * 63});  // the last token of a window predicts nothing
  EXPECT_EQ(gate.squares, importance->tensors.at("blk.3.ffn_up.weight").squares);
  EXPECT_NE(gate.squares, importance->tensors.at("blk.4.ffn_gate.weight").squares);
  EXPECT_EQ(importance->of("output.weight", 0).size(), 256u);
  EXPECT_TRUE(importance->of("nothing", 0).empty());
  const auto file = gguf::File::open(path);
  EXPECT_EQ(file->text("general.type"), "imatrix");
  EXPECT_EQ(file->find("imatrix.datasets")->string_at(0), kText);
}

// Inputs as a norm leaves them, against norms computed here.
TEST(Imatrix, sumsSquaresOfWhatMatricesAreMultipliedWith) {
  auto file = gguf::File::open(kModel);
  ASSERT_TRUE(file);
  const auto engine = engine::Engine::load(std::move(*file), {.threads = 1, .context = 8});
  ASSERT_TRUE(engine);
  const engine::Model& model = (*engine)->model();
  engine::ImportanceCollector collector(model.weights);
  (*engine)->observe_inputs([&](std::string_view weight, size_t expert, std::span<const float> rows,
                                size_t values) { collector.add(weight, expert, rows, values); });
  engine::Sequence sequence = (*engine)->new_sequence();
  const engine::Row row{&sequence, 1, true};
  ASSERT_TRUE((*engine)->step(std::span(&row, 1), engine::CancelToken{false}));
  const engine::Importance importance = collector.result();
  // RMS norm: mean((x / weight)^2) = 1, but for its epsilon.
  const auto& sums = importance.tensors.at("blk.0.attn_q.weight");
  const auto* norm = (*engine)->file().find_tensor("blk.0.attn_norm.weight");
  std::vector<float> weight(norm->elements());
  std::memcpy(weight.data(), norm->bytes.data(), norm->bytes.size());
  double mean = 0;
  for (size_t i = 0; i < weight.size(); ++i) mean += sums.squares[i] / (weight[i] * weight[i]);
  EXPECT_NEAR(mean / static_cast<double>(weight.size()), 1, 0.01);
}

TEST(ImatrixCollector, keepsExpertsApart) {
  gguf::TensorView stack{
      .name = "stack", .format = gguf::Format::F32, .shape = {2, 3, 2, 1}, .dims = 3, .bytes = {}};
  engine::ImportanceCollector collector(std::span(&stack, 1));
  const std::vector<float> rows = {1, 2, 3, 4};
  collector.add("stack", 1, rows, 2);
  collector.add("unknown", 0, rows, 2);
  const engine::Importance importance = collector.result();
  ASSERT_EQ(importance.tensors.size(), 1u);
  EXPECT_EQ(importance.of("stack", 1), (std::vector<float>{5, 10}));
  EXPECT_TRUE(importance.of("stack", 0).empty()) << "an expert that nothing went through";
}

TEST(Imatrix, namesWhatIsWrong) {
  const test::TemporaryFolder folder;
  const auto short_text = run_program({"imatrix", kModel, kText, "-o", folder.file("x"),
                                       "--context", "512", "--chunks", "1", "--stride", "600"});
  EXPECT_EQ(short_text.exit_code, 2);
  EXPECT_THAT(short_text.err, HasSubstr("--stride 600"));
  EXPECT_EQ(run_program({"imatrix", kModel, kText}).exit_code, 2);
}

}  // namespace
}  // namespace quern
