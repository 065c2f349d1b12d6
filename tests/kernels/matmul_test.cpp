#include "kernels/cpu/matmul.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>
#include <vector>

#include "kernels/cpu/aligned_buffer.h"
#include "kernels/cpu/panel.h"
#include "kernels/cpu/reference.h"
#include "tests/kernels/random_blocks.h"
#include "tests/kernels/targets.h"

namespace quern::kernels::cpu {
namespace {

constexpr uint32_t kSeed = 20240611;

std::string format_name(const testing::TestParamInfo<gguf::FormatInfo>& info) {
  return std::string(info.param.name);
}

// Activations of several tokens, as floats and quantized.
class Activations {
 public:
  Activations(size_t tokens, size_t values, std::mt19937& random) : values_(values) {
    std::normal_distribution<float> normal;
    floats_.resize(tokens * values);
    for (float& x : floats_) x = normal(random);
    quantize(tokens);
  }
  // The same codes everywhere: 127 or -127 by `sign(i)`.
  template <typename Sign>
  static Activations extreme(size_t tokens, size_t values, Sign&& sign) {
    std::mt19937 random(kSeed);
    Activations x(tokens, values, random);
    for (size_t i = 0; i < x.floats_.size(); ++i) x.floats_[i] = sign(i) ? -3.0f : 3.0f;
    x.quantize(tokens);
    return x;
  }

  const float* floats() const { return floats_.data(); }
  const std::byte* quantized() const { return memory_.data(); }
  QuantizedRow row(size_t token) const {
    return QuantizedLayout{values_ / 32 * 32}.row(memory_.data(), token);
  }

 private:
  void quantize(size_t tokens) {
    if (values_ % 32 != 0) return;  // only float formats have such rows
    const QuantizedLayout layout{values_};
    memory_ = *AlignedBuffer::allocate(tokens * layout.row_bytes());
    for (size_t t = 0; t < tokens; ++t) {
      reference::quantize_row(floats_.data() + t * values_, values_, row(t));
    }
  }

  size_t values_;
  std::vector<float> floats_;
  AlignedBuffer memory_;
};

struct Shape {
  size_t rows, tokens, values;
};

// Compares matmul_tile with the reference, for every row and token.
void expect_equals_reference(const gguf::FormatInfo& format, const std::vector<std::byte>& weights,
                             const Activations& x, const Shape& shape, bool exact) {
  const size_t row_bytes = format.row_bytes(shape.values);
  const size_t out_stride = shape.rows + 3;
  std::vector<float> out(shape.tokens * out_stride, -1.0f);
  const auto scratch = *AlignedBuffer::allocate(matmul_scratch_bytes(shape.tokens));
  matmul_tile({format.format, weights.data(), row_bytes, shape.rows, shape.values, x.quantized(),
               x.floats(), shape.values, shape.tokens, out.data(), out_stride},
              scratch.data());
  std::vector<float> decoded(shape.values);
  for (size_t t = 0; t < shape.tokens; ++t) {
    for (size_t r = 0; r < shape.rows; ++r) {
      const std::byte* row = weights.data() + r * row_bytes;
      const float* floats = x.floats() + t * shape.values;
      const float expected =
          format.is_float() ? reference::dot_float(format.format, row, floats, shape.values)
                            : reference::dot_quantized(format.format, row, x.row(t), shape.values);
      const float found = out[t * out_stride + r];
      if (exact) {
        ASSERT_EQ(std::bit_cast<uint32_t>(found), std::bit_cast<uint32_t>(expected))
            << "row " << r << ", token " << t << ": " << found << " instead of " << expected;
      } else {
        reference::decode_row(format.format, row, decoded.data(), shape.values);
        double sum = 0;
        for (size_t k = 0; k < shape.values; ++k) sum += std::abs(double{decoded[k]} * floats[k]);
        ASSERT_NEAR(found, expected, 1e-6 * sum) << "row " << r << ", token " << t;
      }
    }
    for (size_t r = shape.rows; r < out_stride; ++r) {
      ASSERT_EQ(out[t * out_stride + r], -1.0f) << "wrote past the last row";
    }
  }
}

class MatMulTileTest : public testing::TestWithParam<gguf::FormatInfo> {
 protected:
  // An odd number of blocks; for float formats a number that is not a multiple of 16.
  size_t odd_values() const { return GetParam().is_float() ? 101 : 3 * GetParam().block_values; }
  std::mt19937 random_{kSeed};
};

TEST_P(MatMulTileTest, equalsReferenceForAnyNumberOfRowsAndTokens) {
  const size_t values = odd_values();
  const auto weights = test::random_matrix(GetParam(), kRowTile, values, random_);
  const Activations x(33, values, random_);
  test::for_each_instruction_set([&](bool exact) {
    for (size_t rows = 1; rows <= kRowTile; ++rows) {
      expect_equals_reference(GetParam(), weights, x, {rows, (rows - 1) % 9 + 1, values}, exact);
    }
    expect_equals_reference(GetParam(), weights, x, {kRowTile, 33, values}, exact);
  });
}

TEST_P(MatMulTileTest, equalsReferenceForRowsOfAnyLength) {
  const size_t block = GetParam().block_values;
  test::for_each_instruction_set([&](bool exact) {
    for (const size_t values : {block, 2 * block, 16 * block, 17 * block, size_t{16384}}) {
      const auto weights = test::random_matrix(GetParam(), 5, values, random_);
      const Activations x(3, values, random_);
      expect_equals_reference(GetParam(), weights, x, {5, 3, values}, exact);
    }
  });
}

TEST_P(MatMulTileTest, keepsExtremeCodesExact) {
  const size_t values = GetParam().is_float() ? 256 : 2 * GetParam().block_values;
  for (const auto fill : {std::byte{0xFF}, std::byte{0x00}, std::byte{0x80}, std::byte{0x7F}}) {
    auto weights = test::random_matrix(GetParam(), kRowTile, values, random_);
    for (size_t at = 0; at < weights.size(); at += GetParam().block_bytes) {
      test::fill_block(GetParam(), fill, weights.data() + at);
    }
    for (const size_t period : {1, 2, 1000}) {
      const auto x =
          Activations::extreme(2, values, [&](size_t i) { return i % period == period - 1; });
      test::for_each_instruction_set([&](bool exact) {
        expect_equals_reference(GetParam(), weights, x, {kRowTile, 2, values}, exact);
      });
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, MatMulTileTest, testing::ValuesIn(gguf::kFormats), format_name);

std::vector<gguf::FormatInfo> quantized_formats() {
  std::vector<gguf::FormatInfo> formats;
  for (const auto& format : gguf::kFormats) {
    if (!format.is_float()) formats.push_back(format);
  }
  return formats;
}

class QuantizedFormatTest : public testing::TestWithParam<gguf::FormatInfo> {};

TEST_P(QuantizedFormatTest, dotProductIsCloseToDoublePrecision) {
  std::mt19937 random(kSeed);
  for (const size_t values : {size_t{GetParam().block_values}, size_t{16384}}) {
    const auto row = test::random_matrix(GetParam(), 1, values, random);
    const Activations activations(1, values, random);
    const QuantizedRow x = activations.row(0);
    std::vector<float> decoded(values);
    reference::decode_row(GetParam().format, row.data(), decoded.data(), values);
    double sum = 0, magnitude = 0;
    for (size_t k = 0; k < values; ++k) {
      const double product = double{decoded[k]} * x.codes[k] * double{x.scales[k / 32]};
      sum += product;
      magnitude += std::abs(product);
    }
    EXPECT_NEAR(reference::dot_quantized(GetParam().format, row.data(), x, values), sum,
                1e-6 * magnitude);
  }
}

TEST_P(QuantizedFormatTest, panelEqualsScalarUnpacking) {
  const auto& format = GetParam();
  std::mt19937 random(kSeed);
  const size_t values = kPanelValues;
  const auto weights = test::random_matrix(format, kPanelRows, values, random);
  test::for_each_instruction_set([&](bool) {
    Panel panel{};
    unpack_panel(format.format, weights.data(), format.row_bytes(values), values, panel);
    for (size_t row = 0; row < kPanelRows; ++row) {
      for (size_t k = 0; k < values; ++k) {
        reference::UnpackedBlock block;
        const size_t i = k % format.block_values;
        if (i == 0) {
          reference::unpack(format.format,
                            weights.data() + row * format.row_bytes(values) + format.row_bytes(k),
                            block);
        }
        ASSERT_EQ(panel.codes[k / 4][row][k % 4] - kPanelBias, block.codes[i]) << row << ' ' << k;
        const size_t group = k / format.scale_group;
        ASSERT_EQ(panel.scale[group][row], block.scale[i / 16]) << row << ' ' << k;
        if (has_minimum(format.format)) {
          ASSERT_EQ(panel.min[group][row], block.min[i / 16]) << row << ' ' << k;
        } else {
          ASSERT_EQ(block.min[i / 16], 0) << row << ' ' << k;
        }
      }
    }
  });
}

TEST_P(QuantizedFormatTest, sharesScalesOverItsScaleGroup) {
  std::mt19937 random(kSeed);
  const auto block = test::random_matrix(GetParam(), 1, GetParam().block_values, random);
  reference::UnpackedBlock unpacked;
  reference::unpack(GetParam().format, block.data(), unpacked);
  for (size_t i = 0; i < GetParam().block_values; ++i) {
    const size_t first = i / GetParam().scale_group * GetParam().scale_group;
    ASSERT_EQ(unpacked.scale[i / 16], unpacked.scale[first / 16]);
    ASSERT_EQ(unpacked.min[i / 16], unpacked.min[first / 16]);
  }
}

INSTANTIATE_TEST_SUITE_P(All, QuantizedFormatTest, testing::ValuesIn(quantized_formats()),
                         format_name);

}  // namespace
}  // namespace quern::kernels::cpu
