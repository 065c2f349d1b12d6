// Programs of a few operations with random weights, and how to run them on any backend.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <deque>
#include <random>
#include <vector>

#include "gguf/file.h"
#include "kernels/backend.h"
#include "kernels/random_weights.h"

namespace quern::test {

// A program that grows operation by operation, and its weights.
class SmallProgram {
 public:
  static constexpr size_t kTokens = 97;  // rows of every embedding table

  explicit SmallProgram(uint32_t seed) : random(seed) {}

  std::vector<float> normal(size_t count, float mean = 0, float deviation = 1) {
    std::normal_distribution<float> distribution(mean, deviation);
    std::vector<float> values(count);
    for (float& value : values) value = distribution(random);
    return values;
  }

  kernels::WeightId add(gguf::Format format, std::array<uint64_t, 4> shape,
                        std::vector<std::byte> bytes) {
    storage_.push_back(std::move(bytes));
    program.weights.push_back({"weight", format, shape});
    weights.push_back(
        {.name = "weight", .format = format, .shape = shape, .dims = 4, .bytes = storage_.back()});
    return static_cast<kernels::WeightId>(weights.size() - 1);
  }
  kernels::WeightId floats(std::array<uint64_t, 4> shape, const std::vector<float>& values) {
    std::vector<std::byte> bytes(values.size() * sizeof(float));
    std::memcpy(bytes.data(), values.data(), bytes.size());
    return add(gguf::Format::F32, shape, std::move(bytes));
  }
  // A matrix whose product with unit inputs has about unit size.
  kernels::WeightId matrix(gguf::Format format, uint64_t in, uint64_t out, uint64_t experts = 1) {
    std::vector<std::byte> bytes(gguf::info(format).row_bytes(in) * out * experts);
    const float deviation = 1 / std::sqrt(static_cast<float>(in));
    kernels::random_weights(format, deviation, random(), bytes);
    return add(format, {in, out, experts, 1}, std::move(bytes));
  }
  // A norm's weight or a bias.
  kernels::WeightId vector(uint64_t width, float mean, float deviation) {
    return floats({width, 1, 1, 1}, normal(width, mean, deviation));
  }

  // A value that holds, for every row, the vector of its token: from `table`, [kTokens][width].
  kernels::ValueId embed(uint32_t width, const std::vector<float>& table) {
    const kernels::ValueId out = program.add_value(width);
    const kernels::WeightId weight = floats({width, kTokens, 1, 1}, table);
    program.ops.push_back(kernels::Embed{weight, out});
    return out;
  }
  kernels::ValueId embed(uint32_t width) { return embed(width, normal(kTokens * width)); }

  std::mt19937 random;
  kernels::Program program;
  std::vector<gguf::TensorView> weights;  // by WeightId

 private:
  std::deque<std::vector<std::byte>> storage_;
};

// Owns the arrays of a Batch. All rows are logit rows, unless `logit_rows` says otherwise.
struct TestBatch {
  struct Row {
    uint32_t sequence, position;
    int32_t token;
  };
  std::vector<Row> rows;
  std::vector<std::vector<uint32_t>> block_tables;
  std::vector<uint32_t> logit_rows = {};
  std::vector<kernels::StateSlots> states = {};  // per sequence, of recurrent programs

  // Rows [first, end).
  TestBatch part(size_t first, size_t end) const {
    return {
        {rows.begin() + static_cast<ptrdiff_t>(first), rows.begin() + static_cast<ptrdiff_t>(end)},
        block_tables};
  }
};

// Positions [first, end) of one sequence, with tokens that look random.
inline TestBatch one_sequence(uint32_t first, uint32_t end, std::vector<uint32_t> blocks) {
  TestBatch batch{{}, {std::move(blocks)}};
  for (uint32_t p = first; p < end; ++p) {
    batch.rows.push_back({0, p, static_cast<int32_t>(p * 31 % SmallProgram::kTokens)});
  }
  return batch;
}

// Runs the program and returns `result`, [logit rows][width].
inline std::vector<float> run(kernels::Backend& backend, const SmallProgram& small,
                              kernels::ValueId result, kernels::Cache& cache, const TestBatch& rows,
                              kernels::WeightHome home = kernels::WeightHome::kMapped) {
  kernels::Program program = small.program;
  const kernels::ValueId selected =
      program.add_value(program.values[result].width, kernels::ValueInfo::Rows::kLogits);
  program.ops.push_back(kernels::SelectLogitRows{result, selected});
  program.finish(selected);
  std::vector<int32_t> tokens;
  std::vector<uint32_t> positions, sequences, logit_rows = rows.logit_rows;
  uint32_t longest = 0;
  for (const TestBatch::Row& row : rows.rows) {
    if (rows.logit_rows.empty()) logit_rows.push_back(static_cast<uint32_t>(tokens.size()));
    tokens.push_back(row.token);
    positions.push_back(row.position);
    sequences.push_back(row.sequence);
    longest = std::max(longest, row.position + 1);
  }
  const std::vector<std::span<const uint32_t>> tables(rows.block_tables.begin(),
                                                      rows.block_tables.end());
  const auto executable = backend.compile(program, small.weights, cache,
                                          {.rows = static_cast<uint32_t>(tokens.size()),
                                           .logit_rows = static_cast<uint32_t>(logit_rows.size()),
                                           .positions = longest},
                                          home);
  EXPECT_EQ((*executable)->pack(UINT64_MAX), 0);
  const std::atomic<bool> never{false};
  const auto found = (*executable)
                         ->run({.tokens = tokens,
                                .positions = positions,
                                .sequences = sequences,
                                .block_tables = tables,
                                .logit_rows = logit_rows,
                                .states = rows.states},
                               never);
  EXPECT_TRUE(found);
  return {found->begin(), found->end()};
}

inline std::unique_ptr<kernels::Cache> make_cache(
    kernels::Backend& backend, const SmallProgram& small, uint32_t blocks,
    kernels::CacheType type = kernels::CacheType::kF32) {
  auto cache = backend.make_cache(small.program, type, blocks);
  EXPECT_TRUE(cache);
  return std::move(*cache);
}

// The same for programs that need no cache, and positions that do not matter.
inline std::vector<float> run(kernels::Backend& backend, const SmallProgram& small,
                              kernels::ValueId result, uint32_t rows,
                              kernels::WeightHome home = kernels::WeightHome::kMapped) {
  const auto cache = make_cache(backend, small, 0);
  return run(backend, small, result, *cache, one_sequence(0, rows, {}), home);
}

inline double rms(const std::vector<float>& values) {
  double sum = 0;
  for (const float value : values) sum += double{value} * value;
  return std::sqrt(sum / static_cast<double>(values.size()));
}

// No value differs by more than `tolerance` times the root mean square of what is expected.
inline void expect_close(const std::vector<float>& found, const std::vector<float>& expected,
                         double tolerance) {
  ASSERT_EQ(found.size(), expected.size());
  const double allowed = tolerance * rms(expected);
  for (size_t i = 0; i < found.size(); ++i) ASSERT_NEAR(found[i], expected[i], allowed) << i;
}

// Equal to the bit.
inline void expect_same(const std::vector<float>& found, const std::vector<float>& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) {
    ASSERT_EQ(std::bit_cast<uint32_t>(found[i]), std::bit_cast<uint32_t>(expected[i]))
        << "value " << i << ": " << found[i] << " instead of " << expected[i];
  }
}

}  // namespace quern::test
