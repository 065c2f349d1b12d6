// Encoders against the errors of an independent implementation, and their promises.
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>
#include <vector>

#include "gguf/validate.h"
#include "kernels/cpu/reference.h"
#include "kernels/quantize/quantizer.h"
#include "tests/golden_path.h"
#include "tests/kernels/golden_tensors.h"

namespace quern::kernels {
namespace {

using gguf::Format;

std::vector<gguf::FormatInfo> quantized_formats() {
  std::vector<gguf::FormatInfo> formats;
  for (const auto& format : gguf::kFormats) {
    if (!format.is_float()) formats.push_back(format);
  }
  return formats;
}

std::vector<float> floats(const test::GoldenTensor& tensor) {
  size_t count = 1;
  for (const uint64_t n : tensor.shape) count *= n;
  std::vector<float> values(count);
  std::memcpy(values.data(), tensor.bytes, count * sizeof(float));
  return values;
}

// sqrt(sum w e^2 / sum w x^2) of what the scalar reference decodes, computed here, so that neither
// the quantizer's own sum nor its decoder is trusted.
double relative_error(const gguf::FormatInfo& format, const std::vector<float>& x, size_t columns,
                      const std::vector<float>& importance) {
  const size_t rows = x.size() / columns;
  std::vector<std::byte> encoded(rows * format.row_bytes(columns));
  Quantizer(2).convert({Format::F32, columns}, std::as_bytes(std::span(x)), format.format,
                       importance, encoded);
  std::vector<float> decoded(x.size());
  cpu::reference::decode_row(format.format, encoded.data(), decoded.data(), decoded.size());
  double error = 0, signal = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double w = importance.empty() ? 1 : importance[i % columns];
    error += w * std::pow(static_cast<double>(x[i]) - decoded[i], 2);
    signal += w * std::pow(static_cast<double>(x[i]), 2);
  }
  return std::sqrt(error / signal);
}

// Formats for which the reference rounds to the largest value and stops.
bool reference_has_no_search(std::string_view format) {
  constexpr std::string_view kFormats[] = {"tq1_0", "tq2_0", "q1_0", "q2_0", "mxfp4", "nvfp4"};
  return std::ranges::find(kFormats, format) != std::end(kFormats);
}

class Encoder : public testing::TestWithParam<gguf::FormatInfo> {};

TEST_P(Encoder, errsNoMoreThanTheReferenceOnTheGoldenRows) {
  static const test::GoldenTensors golden(test::own_golden("encode_input.gguf"));
  std::ifstream in(test::own_golden("encode_rmse.json"));
  std::string key(GetParam().name);
  std::ranges::transform(key, key.begin(), [](unsigned char c) { return std::toupper(c); });
  const auto formats = nlohmann::json::parse(in).at("formats");
  if (!formats.contains(key)) GTEST_SKIP() << "no reference encoder is known";
  const auto limits = formats.at(key);
  const auto importance = floats(golden.all().at("importance"));
  for (const char* rows : {"normal", "heavy_tail"}) {
    const auto x = floats(golden.all().at(rows));
    const double plain = relative_error(GetParam(), x, importance.size(), {});
    const double weighted = relative_error(GetParam(), x, importance.size(), importance);
    const double plain_limit = limits.at(std::string(rows) + "/plain");
    const double weighted_limit = limits.at(std::string(rows) + "/importance");
    // The limits are rounded to six digits.
    EXPECT_LE(plain, plain_limit + 1e-6) << rows;
    EXPECT_LE(weighted, weighted_limit + 1e-6) << rows;
    if (reference_has_no_search(GetParam().name)) {
      EXPECT_LT(weighted, weighted_limit) << rows;
      // One bit without importance: the mean magnitude is the best scale there is.
      if (GetParam().format != Format::Q1_0) {
        EXPECT_LT(plain, plain_limit) << rows;
      }
    }
  }
}

// Rows that searches stumble over; nothing else is asked of them than a sensible block.
std::vector<std::vector<float>> difficult_rows() {
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  std::vector<float> noise(256);
  for (float& v : noise) v = normal(random);
  const auto scaled = [&](float factor) {
    std::vector<float> row = noise;
    for (float& v : row) v *= factor;
    return row;
  };
  std::vector<std::vector<float>> rows = {std::vector<float>(256, 0.0f),
                                          std::vector<float>(256, -0.0f),
                                          std::vector<float>(256, 1.0f),
                                          std::vector<float>(256, -3.5f),
                                          scaled(1e-40f),
                                          scaled(1e-30f),
                                          scaled(1e-7f),
                                          scaled(1e4f)};
  rows.push_back(std::vector<float>(256, 0.0f));
  rows.back()[255] = -1;  // a lonely value
  rows.push_back(scaled(0.01f));
  rows.back()[7] = 60000;         // an outlier
  rows.push_back(scaled(1e20f));  // more than any scale can hold
  rows.push_back(std::vector<float>(256, std::numeric_limits<float>::max()));
  rows.push_back(std::vector<float>(256, -std::numeric_limits<float>::denorm_min()));
  for (size_t i = 0; i < 256; i += 2) rows.back()[i] = std::numeric_limits<float>::max();
  return rows;
}

TEST_P(Encoder, writesFiniteBlocksNoWorseThanZerosForDifficultRows) {
  for (const std::vector<float>& row : difficult_rows()) {
    std::vector<std::byte> encoded(GetParam().row_bytes(row.size()));
    const EncodingError error = Quantizer(1).convert(
        {Format::F32, row.size()}, std::as_bytes(std::span(row)), GetParam().format, {}, encoded);
    gguf::TensorView tensor{.name = "row",
                            .format = GetParam().format,
                            .shape = {256, 1, 1, 1},
                            .dims = 1,
                            .bytes = encoded};
    EXPECT_FALSE(gguf::find_corrupt_block(tensor).has_value()) << row[0] << ", " << row[1];
    EXPECT_LE(error.error, error.signal * 1.000001) << row[0] << ", " << row[1];
  }
}

TEST_P(Encoder, encodesAgainWhatItDecodedWithAlmostNoError) {
  std::mt19937 random(9);
  std::normal_distribution<float> normal(0, 0.02f);
  std::vector<float> x(16 * 1024);
  for (float& v : x) v = normal(random);
  std::vector<std::byte> encoded(16 * GetParam().row_bytes(1024));
  Quantizer quantizer(2);
  const EncodingError first = quantizer.convert({Format::F32, 1024}, std::as_bytes(std::span(x)),
                                                GetParam().format, {}, encoded);
  std::vector<std::byte> again(encoded.size());
  const EncodingError second =
      quantizer.convert({GetParam().format, 1024}, encoded, GetParam().format, {}, again);
  EXPECT_LT(second.relative_rms(), 0.5 * first.relative_rms());
}

TEST_P(Encoder, givesEqualBytesForAnyNumberOfThreads) {
  static const test::GoldenTensors golden(test::own_golden("encode_input.gguf"));
  const auto x = floats(golden.all().at("normal"));
  std::vector<std::vector<std::byte>> results;
  for (const size_t threads : {1, 2, 5}) {
    results.emplace_back(4 * GetParam().row_bytes(1024));
    Quantizer(threads).convert({Format::F32, 1024}, std::as_bytes(std::span(x).first(4 * 1024)),
                               GetParam().format, {}, results.back());
  }
  EXPECT_EQ(results[0], results[1]);
  EXPECT_EQ(results[0], results[2]);
}

std::string format_name(const testing::TestParamInfo<gguf::FormatInfo>& info) {
  return std::string(info.param.name);
}
INSTANTIATE_TEST_SUITE_P(Formats, Encoder, testing::ValuesIn(quantized_formats()), format_name);

}  // namespace
}  // namespace quern::kernels
