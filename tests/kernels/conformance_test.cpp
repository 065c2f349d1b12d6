#include "kernels/conformance.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "kernels/cpu/reference.h"

namespace quern::kernels {
namespace {

std::vector<gguf::FormatInfo> quantized_formats() {
  std::vector<gguf::FormatInfo> formats;
  for (const auto& format : gguf::kFormats) {
    if (!format.is_float()) formats.push_back(format);
  }
  return formats;
}

std::string format_name(const testing::TestParamInfo<gguf::FormatInfo>& info) {
  return std::string(info.param.name);
}

class Conformance : public testing::TestWithParam<gguf::FormatInfo> {};

TEST_P(Conformance, findsNothingWrong) {
  for (const Finding& finding : check_format(GetParam().format, {})) {
    EXPECT_EQ(finding.problem, "") << finding.check;
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, Conformance, testing::ValuesIn(quantized_formats()), format_name);

// A decoder that differs from an independent one in one value is found out, with the place.
TEST(CheckFormat, namesTheBlockAndTheValueOfAWrongDecode) {
  for (const gguf::Format id : {gguf::Format::Q4_0, gguf::Format::IQ2_S}) {
    const gguf::FormatInfo& format = gguf::info(id);
    const std::vector<std::byte> blocks(3 * format.block_bytes, std::byte{0x11});
    std::vector<float> values(3 * format.block_values);
    cpu::reference::decode_row(id, blocks.data(), values.data(), values.size());
    const size_t at = 2 * format.block_values + 5;
    values[at] = std::nextafter(values[at], 1e9f);
    const GoldenBlocks golden{"altered", blocks, std::as_bytes(std::span(values))};
    const auto findings = check_format(id, std::span(&golden, 1));
    EXPECT_THAT(findings.front().problem, testing::HasSubstr("altered, block 2, value 5"));
    for (size_t i = 1; i < findings.size(); ++i) EXPECT_EQ(findings[i].problem, "");
  }
}

TEST(EncoderErrors, fallWithBits) {
  EXPECT_LT(encoder_errors(gguf::Format::Q8_0).normal, encoder_errors(gguf::Format::Q4_0).normal);
  EXPECT_LT(encoder_errors(gguf::Format::Q4_K).heavy_tail,
            encoder_errors(gguf::Format::Q2_K).heavy_tail);
}

}  // namespace
}  // namespace quern::kernels
