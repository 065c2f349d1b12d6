// cache_append and attention against the formulas in plain C++, in double precision: they are
// tested together, what one stores the other reads.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "shaders/shared.h"
#include "tests/kernels/vulkan/shader_test.h"

namespace quern::kernels::vulkan {
namespace {

using shaders::AttentionPush;
using shaders::BatchRow;
using shaders::CacheAppendPush;
using test::Floats;

constexpr uint32_t kBlock = shaders::kCacheBlock;

// One layer, and how a step looks at it.
struct Case {
  std::string name;
  uint32_t query_heads = 4, key_heads = 2, key_width = 64, value_width = 64;
  uint32_t cache = shaders::kCacheF32;
  std::vector<uint32_t> lengths = {70};      // of each sequence, after the step
  uint32_t new_rows = 3;                     // of each sequence
  uint32_t rows = 1, heads = 2, splits = 1;  // of attention's workgroups
  uint32_t pairs = 32, halves = 0, norm_over = 0;
  bool norms = false, sinks = false;
  uint32_t window = 0;
  float softcap = 0, slope = 0;
  double tolerance = 1e-5;
};

double rms_factor(const float* x, size_t count) {
  const double squares = std::inner_product(x, x + count, x, 0.0);
  return 1 / std::sqrt(squares / static_cast<double>(count) + 1e-6);
}

class Layer {
 public:
  explicit Layer(const Case& layer_case) : c_(layer_case) {
    blocks_per_sequence_ = *std::ranges::max_element(c_.lengths) / kBlock + 1;
    for (uint32_t i = 0; i < blocks_per_sequence_ * c_.lengths.size(); ++i) tables_.push_back(i);
    std::ranges::shuffle(tables_, random_);
    const size_t positions = tables_.size() * kBlock;
    keys_ = test::vulkan_buffer(Floats(positions * c_.key_heads * c_.key_width, NAN));
    values_ = test::vulkan_buffer(Floats(positions * c_.key_heads * c_.value_width, NAN));
    q_norm_ = test::normal(c_.query_heads * c_.key_width, random_);
    k_norm_ = test::normal(c_.key_heads * c_.key_width, random_);
    sinks_ = test::normal(c_.query_heads, random_);
    expected_k_.resize(c_.lengths.size());
    expected_v_.resize(c_.lengths.size());
  }

  void check() {
    for (uint32_t s = 0; s < c_.lengths.size(); ++s) append(rows_of(s, 0, c_.lengths[s]));
    std::vector<BatchRow> rows;
    for (uint32_t s = 0; s < c_.lengths.size(); ++s) {
      for (const BatchRow& row : rows_of(s, c_.lengths[s] - c_.new_rows, c_.lengths[s])) {
        rows.push_back(row);
      }
    }
    attend(rows);
  }

 private:
  std::vector<BatchRow> rows_of(uint32_t sequence, uint32_t first, uint32_t last) const {
    std::vector<BatchRow> rows;
    for (uint32_t p = first; p < last; ++p) rows.push_back({0, p, sequence * blocks_per_sequence_});
    return rows;
  }
  uint32_t sequence_of(const BatchRow& row) const { return row.table / blocks_per_sequence_; }

  // Cosine and sine of pair i at a position.
  static std::pair<float, float> turn(uint32_t position, uint32_t i) {
    const double angle = position * std::pow(100.0, -static_cast<double>(i) / 32);
    return {static_cast<float>(std::cos(angle)), static_cast<float>(std::sin(angle))};
  }

  // Norm and rope of all heads of one row of q or k, like CacheAppend in op.h.
  Floats turned(const float* x, uint32_t heads, uint32_t position, const Floats& weight,
                uint32_t over, double factor) const {
    const size_t width = c_.key_width;
    Floats y(x, x + heads * width);
    for (size_t h = 0; h < heads; ++h) {
      const double norm = over == shaders::kNormAllHeads ? rms_factor(x, heads * width)
                                                         : rms_factor(x + h * width, width);
      float* head = &y[h * width];
      for (size_t i = 0; c_.norms && i < width; ++i) {
        const size_t w = over == shaders::kNormEachHead ? i : h * width + i;
        head[i] = static_cast<float>(head[i] * norm * weight[w]);
      }
      for (uint32_t i = 0; i < c_.pairs; ++i) {
        float& a = head[c_.halves ? i : 2 * i];
        float& b = head[c_.halves ? i + c_.pairs : 2 * i + 1];
        const auto [cosine, sine] = turn(position, i);
        const float first = a * cosine - b * sine;
        b = a * sine + b * cosine;
        a = first;
      }
      for (size_t i = 0; i < width; ++i) head[i] = static_cast<float>(head[i] * factor);
    }
    return y;
  }

  void append(const std::vector<BatchRow>& rows) {
    const size_t q_width = c_.query_heads * c_.key_width, k_width = c_.key_heads * c_.key_width;
    const size_t v_width = c_.key_heads * c_.value_width;
    const Floats q = test::normal(rows.size() * q_width, random_);
    const Floats k = test::normal(rows.size() * k_width, random_);
    const Floats v = test::normal(rows.size() * v_width, random_);
    Floats turns;
    for (const BatchRow& row : rows) {
      for (uint32_t i = 0; i < c_.pairs; ++i) {
        const auto [cosine, sine] = turn(row.position, i);
        turns.insert(turns.end(), {cosine, sine});
      }
    }
    turns.push_back(0);  // never empty
    const Buffer q_buffer = test::vulkan_buffer(q), k_buffer = test::vulkan_buffer(k);
    const Buffer v_buffer = test::vulkan_buffer(v), turns_buffer = test::vulkan_buffer(turns);
    const Buffer rows_buffer = test::vulkan_buffer(rows), tables = test::vulkan_buffer(tables_);
    const Buffer q_norm = test::vulkan_buffer(q_norm_), k_norm = test::vulkan_buffer(k_norm_);
    test::dispatch(
        "cache_append", {64, 0, c_.cache},
        CacheAppendPush{.q = q_buffer.address(),
                        .k = k_buffer.address(),
                        .v = v_buffer.address(),
                        .q_norm = c_.norms ? q_norm.address() : 0,
                        .k_norm = c_.norms ? k_norm.address() : 0,
                        .turns = turns_buffer.address(),
                        .rows = rows_buffer.address(),
                        .tables = tables.address(),
                        .keys = keys_.address(),
                        .values = values_.address(),
                        .query_heads = c_.query_heads,
                        .key_heads = c_.key_heads,
                        .key_width = c_.key_width,
                        .value_width = c_.value_width,
                        .pairs = c_.pairs,
                        .halves = c_.halves,
                        .norm_over = c_.norm_over,
                        .epsilon = 1e-6f,
                        .k_epsilon = 1e-6f,
                        .slope = c_.slope,
                        .slope_length = 16},
        {.x = c_.query_heads + 2 * c_.key_heads, .y = static_cast<uint32_t>(rows.size())});
    const Floats turned_q = test::vulkan_values<float>(q_buffer, q.size());
    for (size_t row = 0; row < rows.size(); ++row) {
      const uint32_t position = rows[row].position, s = sequence_of(rows[row]);
      const double temperature =
          c_.slope == 0 ? 1 : 1 + c_.slope * std::log(1 + static_cast<double>(position / 16));
      const Floats expected_q = turned(&q[row * q_width], c_.query_heads, position, q_norm_,
                                       c_.norm_over % 4, temperature);
      for (size_t i = 0; i < q_width; ++i) {
        ASSERT_NEAR(turned_q[row * q_width + i], expected_q[i], 2e-5) << "row " << row << ' ' << i;
      }
      expected_k_[s].push_back(
          turned(&k[row * k_width], c_.key_heads, position, k_norm_, c_.norm_over / 16, 1));
      expected_v_[s].emplace_back(&v[row * v_width], &v[row * v_width] + v_width);
    }
  }

  // out_h of one row, by the formula.
  std::vector<double> expected(const float* q, uint32_t head, const BatchRow& row) const {
    const uint32_t s = sequence_of(row), kv = head / (c_.query_heads / c_.key_heads);
    std::vector<double> scores;
    uint32_t first = c_.window > 0 && row.position >= c_.window ? row.position - c_.window + 1 : 0;
    for (uint32_t j = first; j <= row.position; ++j) {
      const float* k = &expected_k_[s][j][kv * c_.key_width];
      double score = 0.125 * std::inner_product(q, q + c_.key_width, k, 0.0);
      if (c_.softcap > 0) score = c_.softcap * std::tanh(score / c_.softcap);
      scores.push_back(score);
    }
    double largest = *std::ranges::max_element(scores), sum = 0;
    if (c_.sinks) {
      largest = std::max(largest, double{sinks_[head]});
      sum = std::exp(sinks_[head] - largest);
    }
    for (const double score : scores) sum += std::exp(score - largest);
    std::vector<double> out(c_.value_width);
    for (size_t j = 0; j < scores.size(); ++j) {
      const float* v = &expected_v_[s][first + j][kv * c_.value_width];
      for (size_t d = 0; d < out.size(); ++d) out[d] += std::exp(scores[j] - largest) / sum * v[d];
    }
    return out;
  }

  void attend(std::vector<BatchRow> rows) {
    const size_t real = rows.size();
    rows.push_back({0, 0, shaders::kPadding});
    const size_t q_width = c_.query_heads * c_.key_width;
    const size_t out_width = c_.query_heads * c_.value_width;
    const Floats q = test::normal(rows.size() * q_width, random_);
    const Buffer q_buffer = test::vulkan_buffer(q);
    const Buffer out = test::vulkan_buffer(Floats(rows.size() * out_width, NAN));
    const Buffer rows_buffer = test::vulkan_buffer(rows), tables = test::vulkan_buffer(tables_);
    const Buffer sinks = test::vulkan_buffer(sinks_);
    const uint32_t group = c_.query_heads / c_.key_heads;
    const Groups grid = {.x = c_.key_heads * ((group + c_.heads - 1) / c_.heads),
                         .y = c_.splits,
                         .z = static_cast<uint32_t>((rows.size() + c_.rows - 1) / c_.rows)};
    const size_t workgroups = grid.x * grid.z;
    const Buffer partials = test::vulkan_buffer(
        Floats(workgroups * c_.splits * c_.rows * c_.heads * (2 + c_.value_width), NAN));
    const Buffer counters = test::vulkan_buffer(std::vector<uint32_t>(workgroups));
    for (int run = 0; run < 2; ++run) {  // the second one finds the counters as the first left them
      test::dispatch(
          "attention",
          {shaders::kAttentionWidth, 0, c_.cache, c_.rows, c_.heads, c_.key_width, c_.value_width},
          AttentionPush{.q = q_buffer.address(),
                        .out_rows = out.address(),
                        .keys = keys_.address(),
                        .values = values_.address(),
                        .rows = rows_buffer.address(),
                        .tables = tables.address(),
                        .sinks = c_.sinks ? sinks.address() : 0,
                        .partials = partials.address(),
                        .counters = counters.address(),
                        .query_heads = c_.query_heads,
                        .key_heads = c_.key_heads,
                        .row_count = static_cast<uint32_t>(rows.size()),
                        .window = c_.window,
                        .scale = 0.125f,
                        .softcap = c_.softcap},
          grid);
    }
    const Floats result = test::vulkan_values<float>(out, rows.size() * out_width);
    for (size_t row = 0; row < real; ++row) {
      for (uint32_t h = 0; h < c_.query_heads; ++h) {
        const std::vector<double> e = expected(&q[row * q_width + h * c_.key_width], h, rows[row]);
        for (size_t d = 0; d < e.size(); ++d) {
          ASSERT_NEAR(result[row * out_width + h * c_.value_width + d], e[d], c_.tolerance)
              << "row " << row << ", head " << h << ", value " << d;
        }
      }
    }
  }

  const Case c_;
  std::mt19937 random_{5};
  uint32_t blocks_per_sequence_;
  std::vector<uint32_t> tables_;
  Buffer keys_, values_;
  Floats q_norm_, k_norm_, sinks_;
  std::vector<std::vector<Floats>> expected_k_, expected_v_;  // [sequence][position]
};

class ShaderAttention : public ::testing::TestWithParam<Case> {};

TEST_P(ShaderAttention, equalsTheFormula) { Layer(GetParam()).check(); }

INSTANTIATE_TEST_SUITE_P(
    Cases, ShaderAttention,
    ::testing::Values(
        Case{.name = "decode", .lengths = {70}, .new_rows = 1},
        Case{.name = "splits", .lengths = {200, 3}, .new_rows = 1, .splits = 4},
        Case{.name = "prompt", .lengths = {70, 40}, .new_rows = 40, .rows = 8, .splits = 1},
        Case{.name = "promptInSplits", .lengths = {140}, .new_rows = 21, .rows = 8, .splits = 3},
        Case{.name = "f16", .cache = shaders::kCacheF16, .halves = 1, .tolerance = 2e-3},
        Case{.name = "q8",
             .cache = shaders::kCacheQ8_0,
             .lengths = {130},
             .splits = 2,
             .halves = 1,
             .tolerance = 3e-2},
        Case{.name = "sevenQueriesAndOddWidths",
             .query_heads = 14,
             .key_heads = 2,
             .key_width = 80,
             .value_width = 48,
             .heads = 7,
             .pairs = 20},
        Case{.name = "chunksOfHeads",
             .query_heads = 10,
             .key_heads = 2,
             .lengths = {90},
             .heads = 3,
             .splits = 2},
        Case{.name = "norms", .norms = true},
        Case{.name = "normsOfOwnHeads",
             .halves = 1,
             .norm_over = shaders::kNormOwnHead * 17,
             .norms = true},
        Case{.name = "normsOverAllHeads",
             .pairs = 16,
             .norm_over = shaders::kNormAllHeads * 17,
             .norms = true},
        Case{.name = "windowSinksAndSoftcap",
             .lengths = {200, 30},
             .new_rows = 20,
             .rows = 8,
             .splits = 2,
             .sinks = true,
             .window = 50,
             .softcap = 5},
        Case{.name = "noRopeButTemperature", .pairs = 0, .slope = 0.5f}),
    [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace quern::kernels::vulkan
