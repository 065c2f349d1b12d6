// What a device makes of a format's edge blocks: its gathers and products beside the scalar
// reference.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "kernels/conformance.h"
#include "kernels/conformance_blocks.h"
#include "kernels/cpu/reference.h"

namespace quern::kernels {
namespace {

using conformance::Bytes;
using gguf::FormatInfo;

using Floats = std::vector<float>;

// All edge blocks as rows of three; the last row is filled up with first blocks.
class EdgeMatrix {
 public:
  explicit EdgeMatrix(const FormatInfo& format)
      : format_(format), bytes_(conformance::edge_blocks(format)) {
    for (size_t at = 0; bytes_.size() % row_bytes() != 0; ++at) bytes_.push_back(bytes_[at]);
    values_.resize(rows() * width());
    cpu::reference::decode_row(format.format, bytes_.data(), values_.data(), values_.size());
  }

  size_t width() const { return 3 * format_.block_values; }
  size_t rows() const { return bytes_.size() / row_bytes(); }
  size_t block_values() const { return format_.block_values; }
  std::span<const float> values() const { return values_; }
  const float* row(size_t r) const { return &values_[r * width()]; }
  WeightInfo info() const { return {"weight", format_.format, {width(), rows(), 1, 1}}; }
  gguf::TensorView view() const { return {"weight", format_.format, info().shape, 2, bytes_}; }

 private:
  size_t row_bytes() const { return format_.row_bytes(width()); }

  const FormatInfo& format_;
  Bytes bytes_;
  Floats values_;
};

// The output of a program of one part for `rows` rows; row i has token i.
Result<Floats> run(Backend& device, const Program& program, const EdgeMatrix& matrix, size_t rows,
                   std::span<const float> input) {
  std::vector<int32_t> tokens(rows);
  std::vector<uint32_t> positions(rows);
  for (size_t i = 0; i < rows; ++i) {
    tokens[i] = static_cast<int32_t>(i);
    positions[i] = static_cast<uint32_t>(i);
  }
  const std::vector<uint32_t> sequences(rows);
  const std::vector<std::span<const uint32_t>> block_tables(1);
  const std::atomic<bool> never{false};
  const auto most = static_cast<uint32_t>(rows);
  const gguf::TensorView weights[] = {matrix.view()};
  QUERN_TRY(const auto cache, device.make_cache(program, CacheType::kF16, 1));
  QUERN_TRY(
      const auto executable,
      device.compile(program, weights, *cache, {.rows = most, .logit_rows = 1, .positions = most}));
  QUERN_TRY(const auto out, executable->run({.tokens = tokens,
                                             .positions = positions,
                                             .sequences = sequences,
                                             .block_tables = block_tables,
                                             .logit_rows = {},
                                             .input = input},
                                            never));
  return Floats(out.begin(), out.end());
}

// A device may flush subnormal numbers to zero.
bool same(float found, float expected) {
  if (std::abs(expected) < std::numeric_limits<float>::min()) {
    return std::abs(found) <= std::abs(expected);
  }
  return found == expected;
}

Result<std::string> check_gather(Backend& device, const EdgeMatrix& matrix) {
  Program program;
  const ValueId out = program.add_value(static_cast<uint32_t>(matrix.width()));
  program.weights.push_back(matrix.info());
  program.ops.push_back(Embed{.table = 0, .out = out});
  program.finish(out);
  QUERN_TRY(const Floats found, run(device, program, matrix, matrix.rows(), {}));
  const size_t n = matrix.block_values();
  for (size_t i = 0; i < found.size(); ++i) {
    if (same(found[i], matrix.values()[i])) continue;
    return fmt::format("block {}, value {}: {} instead of {}", i / n, i % n, found[i],
                       matrix.values()[i]);
  }
  return std::string();
}

// A row of weights and one of activations in double precision.
struct Product {
  Product(std::span<const float> w, const float* x) {
    double squares = 0, top = 0;
    for (size_t k = 0; k < w.size(); ++k) {
      const double product = double{w[k]} * x[k];
      sum += product;
      magnitude += std::abs(product);
      squares += double{w[k]} * w[k];
      top = std::max(top, std::abs(double{x[k]}));
    }
    scale = std::sqrt(squares) * top;
    const auto beyond = [](float weight) { return !(std::abs(weight) <= 65504); };
    half = std::ranges::none_of(w, beyond);
  }
  double sum = 0;
  double magnitude = 0;  // Σ |w x|: what f32 sums round by
  double scale = 0;      // what a variant's bound is a share of
  bool half = true;      // half precision holds the weights
};

// Of `tokens` rows of activations with the whole matrix. `bound`: of the variant in use.
Result<std::string> check_product(Backend& device, const EdgeMatrix& matrix, size_t tokens,
                                  double bound) {
  Program program;
  const ValueId in = program.add_value(static_cast<uint32_t>(matrix.width()));
  const ValueId out = program.add_value(static_cast<uint32_t>(matrix.rows()));
  program.weights.push_back(matrix.info());
  program.ops.push_back(Projection{.in = in, .norm = {}, .outputs = {{.weight = 0, .out = out}}});
  program.parts = {{0, 1, in, out}};
  std::mt19937 random(conformance::kSeed);
  std::normal_distribution<float> normal;
  Floats x(tokens * matrix.width());
  for (float& v : x) v = normal(random);
  QUERN_TRY(const Floats found, run(device, program, matrix, tokens, x));
  for (size_t i = 0; i < found.size(); ++i) {
    const size_t token = i / matrix.rows(), row = i % matrix.rows();
    const Product exact({matrix.row(row), matrix.width()}, &x[token * matrix.width()]);
    const double allowed = 2e-6 * exact.magnitude + bound * exact.scale + 1e-30;
    if (std::abs(found[i] - exact.sum) <= allowed || (bound > 0 && !exact.half)) continue;
    return fmt::format("row {}, token {}: {} instead of {}", row, token, found[i], exact.sum);
  }
  return std::string();
}

Finding finding(const FormatInfo& format, Backend& device, const char* check,
                const Result<std::string>& problem) {
  Finding finding{fmt::format("{}: {}", device.name(), check),
                  problem ? *problem : problem.error().to_string()};
  if (!problem) finding.error = problem.error();
  if (!finding.problem.empty()) {
    finding.problem += " (shaders/decode/" + conformance::file_name(format) + ".glsl)";
  }
  return finding;
}

std::vector<Finding> check_products(const FormatInfo& format, Backend& device,
                                    const EdgeMatrix& matrix, double bound) {
  return {finding(format, device, "products of one row are close to double precision",
                  check_product(device, matrix, 1, bound)),
          finding(format, device, "products of many rows are close to double precision",
                  check_product(device, matrix, 11, bound))};
}

}  // namespace

std::vector<Finding> check_device(gguf::Format format, Backend& device) {
  const FormatInfo& facts = gguf::info(format);
  const EdgeMatrix matrix(facts);
  std::vector<Finding> findings = check_products(facts, device, matrix, 0);
  findings.insert(findings.begin(), finding(facts, device, "gathered rows equal the scalar decode",
                                            check_gather(device, matrix)));
  return findings;
}

std::vector<Finding> check_products(gguf::Format format, Backend& device,
                                    const ProductVariant& variant) {
  const FormatInfo& facts = gguf::info(format);
  return check_products(facts, device, EdgeMatrix(facts), double{variant.bound});
}

}  // namespace quern::kernels
