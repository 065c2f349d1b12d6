// Every block format on the GPU: row gathers and products against the scalar reference.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "gguf/format.h"
#include "kernels/cpu/reference.h"
#include "kernels/vulkan/codebooks.h"
#include "kernels/vulkan/device.h"
#include "shaders/shared.h"
#include "tests/kernels/random_blocks.h"
#include "tests/kernels/vulkan/shader_test.h"

namespace quern::kernels::vulkan {
namespace {

using gguf::FormatInfo;
using shaders::GatherPush;
using shaders::MatmulPush;
using test::Floats;

constexpr uint32_t kWidth = 512;
constexpr uint32_t kOuts = 21;  // two and a part of the workgroups of matvec

std::string kernel_name(std::string_view shader, const FormatInfo& format) {
  std::string name = fmt::format("{}_{}", shader, format.name);
  for (char& c : name) c = static_cast<char>(std::tolower(c));
  return name;
}

// [kOuts][kWidth]: rows of the extreme codes, then random ones.
std::vector<std::byte> test_matrix(const FormatInfo& format, std::mt19937& random) {
  std::vector<std::byte> bytes = test::random_matrix(format, kOuts, kWidth, random);
  for (const auto& [row, value] : {std::pair{0, 0x00}, {1, 0xFF}, {2, 0x80}, {3, 0x7F}}) {
    for (uint64_t at = 0; at < format.row_bytes(kWidth); at += format.block_bytes) {
      test::fill_block(format, static_cast<std::byte>(value),
                       bytes.data() + row * format.row_bytes(kWidth) + at);
    }
  }
  return bytes;
}

Floats decoded(const FormatInfo& format, const std::vector<std::byte>& matrix) {
  Floats values(matrix.size() / format.block_bytes * format.block_values);
  cpu::reference::decode_row(format.format, matrix.data(), values.data(), values.size());
  return values;
}

class ShaderFormats : public ::testing::TestWithParam<FormatInfo> {
 protected:
  std::mt19937 random_{20};
  const std::vector<std::byte> matrix_ = test_matrix(GetParam(), random_);
  const Floats values_ = decoded(GetParam(), matrix_);
  const Buffer weight_ = test::vulkan_buffer(matrix_);
  const Buffer codebooks_ = test::vulkan_buffer(codebook_bytes());
};

// A device may flush subnormal results to zero.
bool same(float a, float b) {
  if (std::abs(b) < std::numeric_limits<float>::min()) return std::abs(a) <= std::abs(b);
  return a == b && std::signbit(a) == std::signbit(b);
}

TEST_P(ShaderFormats, gatherEqualsTheScalarDecode) {
  std::vector<shaders::BatchRow> rows;
  for (uint32_t row = 0; row < kOuts; ++row) rows.push_back({(row * 5 + 3) % kOuts, row, 0});
  const Buffer batch = test::vulkan_buffer(rows);
  const Buffer out = test::vulkan_buffer(Floats(kOuts * kWidth));
  test::dispatch(kernel_name("gather", GetParam()), {64, 0},
                 GatherPush{.table = weight_.address(),
                            .rows = batch.address(),
                            .out_rows = out.address(),
                            .codebooks = codebooks_.address(),
                            .width = kWidth},
                 {.x = (kWidth / 8 + 63) / 64, .y = kOuts});
  const Floats gathered = test::vulkan_values<float>(out, kOuts * kWidth);
  for (uint32_t i = 0; i < gathered.size(); ++i) {
    const float expected = values_[rows[i / kWidth].token * kWidth + i % kWidth];
    ASSERT_TRUE(same(gathered[i], expected)) << "row " << i / kWidth << " value " << i % kWidth
                                             << ": " << gathered[i] << ", not " << expected;
  }
}

// Σ w x in double, and Σ |w x| as the measure of errors.
struct Product {
  double sum = 0, magnitude = 0;
};
Product product(const float* w, const float* x) {
  Product result;
  for (uint32_t k = 0; k < kWidth; ++k) {
    result.sum += double{w[k]} * x[k];
    result.magnitude += std::abs(double{w[k]} * x[k]);
  }
  return result;
}

void expect_products(const Floats& out, const Floats& weights, const Floats& x) {
  for (size_t i = 0; i < out.size(); ++i) {
    const size_t t = i / kOuts, r = i % kOuts;
    const Product expected = product(&weights[r * kWidth], &x[t * kWidth]);
    ASSERT_NEAR(out[i], expected.sum, 2e-6 * expected.magnitude + 1e-30)
        << "row " << t << ", output " << r;
  }
}

TEST_P(ShaderFormats, productsEqualThoseOfTheDecodedMatrix) {
  constexpr uint32_t kRows = 2;
  const Floats x = test::normal(kRows * kWidth, random_);
  const Buffer in = test::vulkan_buffer(x);
  const Buffer out = test::vulkan_buffer(Floats(kRows * kOuts));
  MatmulPush push = {.weight = weight_.address(),
                     .x = in.address(),
                     .out_rows = out.address(),
                     .codebooks = codebooks_.address(),
                     .in_width = kWidth,
                     .out_width = kOuts,
                     .rows = kRows};
  // One workgroup more than needed.
  test::dispatch(kernel_name("matvec", GetParam()), {64, 0, kRows, 0}, push, {.x = 2, .y = 2});
  expect_products(test::vulkan_values<float>(out, kRows * kOuts), values_, x);

  const Buffer tiled = test::vulkan_buffer(Floats(kRows * kOuts));
  push.out_rows = tiled.address();
  test::dispatch(kernel_name("matmul", GetParam()), {shaders::kMatmulWidth, 0, 0}, push, {});
  expect_products(test::vulkan_values<float>(tiled, kRows * kOuts), values_, x);
}

INSTANTIATE_TEST_SUITE_P(AllFormats, ShaderFormats, ::testing::ValuesIn(gguf::kFormats),
                         [](const auto& format) { return std::string(format.param.name); });

}  // namespace
}  // namespace quern::kernels::vulkan
