// The scalar reference against the golden logits, and the CPU backend against both.
#include <gtest/gtest.h>

#include "engine/model.h"
#include "tests/golden_path.h"
#include "tests/kernels/small_program.h"

namespace quern::kernels {
namespace {

using test::SmallProgram;
using test::TestBatch;

template <typename T, typename View>
std::vector<T> elements(const View& tensor) {
  std::vector<T> values(tensor.elements());
  std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  return values;
}

// A golden model: tokens, and the logits of an independent float64 forward pass.
struct Golden {
  explicit Golden(const std::string& name)
      : file(*gguf::File::open(test::own_golden("models/" + name + ".gguf"))),
        model(*engine::read_model(file)) {
    const auto logits = *gguf::File::open(test::own_golden("models/" + name + ".logits.gguf"));
    tokens = elements<int32_t>(*logits.find_number_tensor("tokens"));
    exact = elements<float>(*logits.find_tensor("exact"));
  }

  // Logits of all tokens, computed `chunk` at a time, in cache blocks that are not in order.
  std::vector<float> run(Backend& backend, uint32_t chunk) const {
    const auto count = static_cast<uint32_t>(tokens.size());
    const auto cache = *backend.make_cache(model.program, CacheType::kF32, 3);
    const auto executable =
        *backend.compile(model.program, model.weights, *cache, {chunk, chunk, count});
    const std::vector<uint32_t> blocks = {2, 0, 1}, sequences(chunk, 0);
    const std::vector<std::span<const uint32_t>> tables = {blocks};
    const std::atomic<bool> never{false};
    std::vector<float> all;
    for (uint32_t first = 0; first < count; first += chunk) {
      const uint32_t rows = std::min(chunk, count - first);
      std::vector<uint32_t> positions(rows), logit_rows(rows);
      std::iota(positions.begin(), positions.end(), first);
      std::iota(logit_rows.begin(), logit_rows.end(), 0);
      const auto logits = executable->run({std::span(tokens).subspan(first, rows), positions,
                                           std::span(sequences).first(rows), tables, logit_rows},
                                          never);
      EXPECT_TRUE(logits);
      all.insert(all.end(), logits->begin(), logits->end());
    }
    return all;
  }

  gguf::File file;
  engine::Model model;
  std::vector<int32_t> tokens;
  std::vector<float> exact;  // [tokens][vocabulary]
};

double largest(const std::vector<float>& values) {
  double most = 0;
  for (const float value : values) most = std::max(most, std::abs(double{value}));
  return most;
}

void expect_within(double tolerance, const std::vector<float>& found,
                   const std::vector<float>& expected) {
  ASSERT_EQ(found.size(), expected.size());
  const double allowed = tolerance * largest(expected);
  for (size_t i = 0; i < found.size(); ++i) ASSERT_NEAR(found[i], expected[i], allowed) << i;
}

class GoldenModel : public testing::TestWithParam<const char*> {};

TEST_P(GoldenModel, matchesTheExactForwardPassOnTheReference) {
  const Golden golden(GetParam());
  const auto reference = make_reference_backend();
  const std::vector<float> whole = golden.run(*reference, 64);
  expect_within(2e-5, whole, golden.exact);
  test::expect_same(golden.run(*reference, 5), whole);
}

TEST_P(GoldenModel, matchesTheReferenceOnTheCpu) {
  const Golden golden(GetParam());
  const auto cpu = make_cpu_backend(2), reference = make_reference_backend();
  expect_within(2e-5, golden.run(*cpu, 5), golden.run(*reference, 64));
}

INSTANTIATE_TEST_SUITE_P(Families, GoldenModel,
                         testing::Values("llama", "llama3-rope", "llama-yarn", "llama-linear-rope",
                                         "llama-moe", "qwen2", "qwen3"),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

class EveryBackend : public testing::TestWithParam<bool> {
 protected:
  std::unique_ptr<Backend> backend_ = GetParam() ? make_cpu_backend(2) : make_reference_backend();
};

TEST_P(EveryBackend, returnsTheLogitRowsThatAreAskedFor) {
  SmallProgram small(1);
  const std::vector<float> table = small.normal(SmallProgram::kTokens * 5);
  const ValueId x = small.embed(5, table);
  const auto cache = test::make_cache(*backend_, small, 0);
  TestBatch batch = test::one_sequence(0, 9, {});
  batch.logit_rows = {0, 3, 8};
  std::vector<float> expected;
  for (const uint32_t row : batch.logit_rows) {
    const auto first = table.begin() + batch.rows[row].token * 5;
    expected.insert(expected.end(), first, first + 5);
  }
  test::expect_same(test::run(*backend_, small, x, *cache, batch), expected);
}

TEST_P(EveryBackend, computesOnlyWantedRowsAfterASelection) {
  SmallProgram small(2);
  const ValueId x = small.embed(32);
  const ValueId chosen = small.program.add_value(32, ValueInfo::Rows::kLogits);
  const ValueId logits = small.program.add_value(20, ValueInfo::Rows::kLogits);
  const Linear head{.weight = small.matrix(gguf::Format::F32, 32, 20), .out = logits};
  Projection op{.in = x, .norm = {}, .outputs = {head}};
  SmallProgram before = small;  // projects all rows, then selects
  before.program.values[logits].rows = ValueInfo::Rows::kBatch;
  before.program.ops.push_back(op);
  small.program.ops.push_back(SelectLogitRows{x, chosen});
  op.in = chosen;
  small.program.ops.push_back(op);
  small.program.finish(logits);

  TestBatch batch = test::one_sequence(0, 7, {});
  batch.logit_rows = {1, 2, 6};
  const auto cache = test::make_cache(*backend_, small, 0);
  const auto expected = test::run(*backend_, before, logits, *cache, batch);
  const auto executable = *backend_->compile(small.program, small.weights, *cache, {7, 3, 7});
  std::vector<int32_t> tokens;
  std::vector<uint32_t> positions;
  for (const TestBatch::Row& row : batch.rows) {
    tokens.push_back(row.token);
    positions.push_back(row.position);
  }
  const std::vector<uint32_t> sequences(7, 0);
  const std::atomic<bool> never{false};
  const auto found = executable->run({tokens, positions, sequences, {}, batch.logit_rows}, never);
  test::expect_same({found->begin(), found->end()}, expected);
}

TEST_P(EveryBackend, stopsWhenCancelled) {
  SmallProgram small(3);
  small.program.finish(small.embed(4));
  const auto cache = test::make_cache(*backend_, small, 0);
  const auto executable = *backend_->compile(small.program, small.weights, *cache, {1, 1, 1});
  const std::vector<int32_t> tokens = {5};
  const std::vector<uint32_t> zero = {0};
  const std::atomic<bool> cancelled{true};
  const auto result = executable->run({tokens, zero, zero, {}, zero}, cancelled);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, ErrorKind::kCancelled);
}

TEST_P(EveryBackend, cacheTakesTheBytesThatArePredicted) {
  SmallProgram small(4);
  small.program.layers = {{4, 2, 80, 48}, {3, 3, 16, 16}};
  for (const CacheType type : {CacheType::kF32, CacheType::kF16, CacheType::kQ8_0}) {
    const auto cache = test::make_cache(*backend_, small, 7, type);
    EXPECT_EQ(cache->bytes(), 7 * backend_->cache_block_bytes(small.program, type));
  }
}

TEST_P(EveryBackend, refusesACacheThatNoMemoryCanHold) {
  SmallProgram small(5);
  small.program.layers.assign(1024, {4096, 4096, 4096, 4096});  // 2^43 bytes per block
  const auto cache = backend_->make_cache(small.program, CacheType::kF32, 1 << 21);
  ASSERT_FALSE(cache);
  EXPECT_EQ(cache.error().code, "out-of-memory");
}

INSTANTIATE_TEST_SUITE_P(Backends, EveryBackend, testing::Bool(),
                         [](const auto& test) { return test.param ? "cpu" : "reference"; });

}  // namespace
}  // namespace quern::kernels
