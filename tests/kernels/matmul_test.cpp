#include "kernels/cpu/matmul.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/cpu/aligned_buffer.h"
#include "kernels/cpu/format_kernels.h"
#include "kernels/cpu/packed.h"
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
  const uint16_t* halves() const { return halves_.data(); }
  // As the reference reads them.
  reference::QuantizedRow row(size_t token) {
    return {codes_.data() + token * values_, shifts_.data() + token * (values_ / 32),
            units_.data() + token * units_per_token(), sums_.data() + token * (values_ / 16)};
  }

 private:
  size_t units_per_token() const { return (values_ + kUnitValues - 1) / kUnitValues; }
  void quantize(size_t tokens) {
    const size_t stride = halves_stride(values_);
    halves_.assign(tokens * stride, 0x7FC0);  // padding that is not written would give NaN
    for (size_t t = 0; t < tokens; ++t) {
      round_to_halves(floats_.data() + t * values_, values_, halves_.data() + t * stride);
    }
    if (values_ % 32 != 0) return;  // only float formats have such rows
    const size_t row_bytes = QuantizedLayout{values_}.row_bytes();
    memory_ = *AlignedBuffer::allocate(tokens * row_bytes);
    codes_.resize(tokens * values_);
    shifts_.resize(tokens * values_ / 32);
    units_.resize(tokens * units_per_token());
    sums_.resize(tokens * values_ / 16);
    for (size_t t = 0; t < tokens; ++t) {
      reference::quantize_row(floats_.data() + t * values_, values_, row(t));
    }
    for (size_t t = 0, count; t < tokens; t += count) {
      count = QuantizedLayout::block_tokens(t, tokens);
      quantize_block(floats_.data() + t * values_, count, 1, values_,
                     memory_.data() + t * row_bytes);
    }
  }

  size_t values_;
  std::vector<float> floats_;
  std::vector<uint16_t> halves_;
  std::vector<int8_t> codes_;
  std::vector<int32_t> shifts_;
  std::vector<float> units_;
  std::vector<int32_t> sums_;
  AlignedBuffer memory_;
};

struct Shape {
  size_t rows, tokens, values;
};

// What matmul_tile computes, [tokens][rows].
std::vector<float> multiply(MatMulTile tile, const Shape& shape) {
  const auto memory = *AlignedBuffer::allocate(shape.tokens * kRowTile * sizeof(float));
  const auto scratch = *AlignedBuffer::allocate(matmul_scratch_bytes());
  tile.out = reinterpret_cast<float*>(memory.data());
  std::fill_n(tile.out, shape.tokens * kRowTile, -1.0f);
  matmul_tile(tile, scratch.data());
  std::vector<float> out;
  for (size_t t = 0; t < shape.tokens; ++t) {
    out.insert(out.end(), tile.out + t * kRowTile, tile.out + t * kRowTile + shape.rows);
  }
  return out;
}

// The rows of a tile in packed form; empty if this instruction set has no such form.
AlignedBuffer packed_rows(const gguf::FormatInfo& format, const std::vector<std::byte>& weights,
                          const Shape& shape) {
  const auto pack = format_kernels(format.format).pack;
  if (!pack) return {};
  const size_t row_bytes = format.row_bytes(shape.values);
  const size_t tile_bytes = packed_tile_bytes(format.format, shape.values);
  auto packed = *AlignedBuffer::allocate(packed_bytes(format.format, shape.rows, shape.values));
  for (size_t row = 0; row < shape.rows; row += kPanelRows) {
    pack(weights.data() + row * row_bytes, std::min(kPanelRows, shape.rows - row), row_bytes,
         packed.data() + row / kPanelRows * tile_bytes);
  }
  return packed;
}

// Compares matmul_tile, of mapped and of packed rows, with the reference, for every row and token.
void expect_equals_reference(const gguf::FormatInfo& format, const std::vector<std::byte>& weights,
                             Activations& x, const Shape& shape, bool exact) {
  const size_t row_bytes = format.row_bytes(shape.values);
  MatMulTile tile{.format = format.format,
                  .weights = weights.data(),
                  .row_bytes = row_bytes,
                  .rows = shape.rows,
                  .values = shape.values,
                  .quantized = x.quantized(),
                  .halves = x.halves(),
                  .floats = x.floats(),
                  .tokens = shape.tokens,
                  .out = nullptr};
  const std::vector<float> out = multiply(tile, shape);
  if (const AlignedBuffer packed = packed_rows(format, weights, shape); packed.size() > 0) {
    tile.weights = packed.data();
    tile.row_bytes = WeightTile::kPacked;
    const std::vector<float> from_packed = multiply(tile, shape);
    ASSERT_EQ(std::memcmp(from_packed.data(), out.data(), out.size() * sizeof(float)), 0);
    std::vector<std::byte> row(row_bytes);
    for (size_t r = 0; r < shape.rows; ++r) {
      const size_t tile_bytes = packed_tile_bytes(format.format, shape.values);
      format_kernels(format.format)
          .unpack_row(packed.data() + r / kPanelRows * tile_bytes, r % kPanelRows, row_bytes,
                      row.data());
      ASSERT_EQ(std::memcmp(row.data(), weights.data() + r * row_bytes, row_bytes), 0);
    }
  }
  std::vector<float> decoded(shape.values);
  for (size_t t = 0; t < shape.tokens; ++t) {
    for (size_t r = 0; r < shape.rows; ++r) {
      const std::byte* row = weights.data() + r * row_bytes;
      const float* floats = x.floats() + t * shape.values;
      const float expected =
          format.is_float() ? reference::dot_float(format.format, row, floats, shape.values)
                            : reference::dot_quantized(format.format, row, x.row(t), shape.values);
      const float found = out[t * shape.rows + r];
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
  test::for_each_instruction_set([&](bool exact) {
    for (const size_t rows : {1, 2, 3, 5, 8, 13, 15, 16, 17, 18, 20, 24, 31, 32}) {
      const size_t tokens = (rows - 1) % 17 + 1;
      Activations x(tokens, values, random_);
      expect_equals_reference(GetParam(), weights, x, {rows, tokens, values}, exact);
    }
    Activations x(33, values, random_);
    expect_equals_reference(GetParam(), weights, x, {kRowTile, 33, values}, exact);
  });
}

TEST_P(MatMulTileTest, equalsReferenceForRowsOfAnyLength) {
  const size_t block = GetParam().block_values;
  test::for_each_instruction_set([&](bool exact) {
    for (const size_t values : {block, 2 * block, 16 * block, 17 * block, size_t{16384}}) {
      const auto weights = test::random_matrix(GetParam(), 5, values, random_);
      Activations x(3, values, random_);
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
      auto x = Activations::extreme(2, values, [&](size_t i) { return i % period == period - 1; });
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
    Activations activations(1, values, random);
    const reference::QuantizedRow x = activations.row(0);
    std::vector<float> decoded(values);
    reference::decode_row(GetParam().format, row.data(), decoded.data(), values);
    double sum = 0, magnitude = 0;
    for (size_t k = 0; k < values; ++k) {
      const double product = double{decoded[k]} * x.value(k);
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
    unpack_panel(format.format, {weights.data(), format.row_bytes(values)}, 0, values, panel);
    for (size_t row = 0; row < kPanelRows; ++row) {
      for (size_t k = 0; k < values; ++k) {
        reference::UnpackedBlock block;
        const size_t i = k % format.block_values;
        if (i == 0) {
          reference::unpack(format.format,
                            weights.data() + row * format.row_bytes(values) + format.row_bytes(k),
                            block);
        }
        ASSERT_EQ(panel.codes[k / 4][row][k % 4] - code_bias(format.format), block.codes[i])
            << row << ' ' << k;
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

class IntegerFormatTest : public testing::TestWithParam<gguf::FormatInfo> {};

TEST_P(IntegerFormatTest, productPanelHasScaledCodesAndMinimumCodes) {
  const auto& format = GetParam();
  const bool scaled = scales_codes(format.format);
  ASSERT_TRUE(scaled || codes_minimums(format.format));
  std::mt19937 random(kSeed);
  const auto weights = test::random_matrix(format, kPanelRows, kPanelValues, random);
  const size_t row_bytes = format.row_bytes(kPanelValues);
  test::for_each_instruction_set([&](bool) {
    Panel panel{};
    unpack_product_panel(format.format, {weights.data(), row_bytes}, 0, kPanelValues, panel);
    for (size_t row = 0; row < kPanelRows; ++row) {
      reference::UnpackedBlock block;
      reference::unpack(format.format, weights.data() + row * row_bytes, block);
      for (size_t k = 0; k < kPanelValues; ++k) {
        const size_t g = k / 16, own = k / format.scale_group;
        const int code = panel.codes[k / 4][row][k % 4];
        if (scaled) {
          ASSERT_EQ(code - scaled_bias(format.format), block.codes[k] * block.scale_codes[g])
              << row << ' ' << k;
          ASSERT_EQ(panel.scale[0][row], block.block_scale) << row;
          // What the float form says, too.
          ASSERT_EQ(block.scale[g], block.block_scale * static_cast<float>(block.scale_codes[g]));
        } else {
          ASSERT_EQ(code, block.codes[k]) << row << ' ' << k;
          ASSERT_EQ(panel.scale[own][row], block.scale[g]) << row << ' ' << k;
        }
        if (!has_minimum(format.format)) continue;
        ASSERT_EQ(block.min[g], block.block_min * static_cast<float>(block.min_codes[g]));
        ASSERT_EQ(panel.min[0][row], block.block_min) << row;
        ASSERT_EQ(panel.min_codes[own / 2][row][own % 2], block.min_codes[g]) << row << ' ' << k;
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

INSTANTIATE_TEST_SUITE_P(All, IntegerFormatTest,
                         testing::Values(gguf::info(gguf::Format::Q2_K),
                                         gguf::info(gguf::Format::Q3_K),
                                         gguf::info(gguf::Format::Q4_K),
                                         gguf::info(gguf::Format::Q5_K)),
                         format_name);
INSTANTIATE_TEST_SUITE_P(All, QuantizedFormatTest, testing::ValuesIn(quantized_formats()),
                         format_name);

}  // namespace
}  // namespace quern::kernels::cpu
