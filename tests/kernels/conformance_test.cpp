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
    EXPECT_FALSE(finding.failed()) << finding.check << ": " << finding.problem;
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

TEST(CheckFormat, saysWhenThereAreNoGoldenBlocks) {
  const auto findings = check_format(gguf::Format::Q8_0, {});
  EXPECT_TRUE(findings.front().missing);
  EXPECT_FALSE(findings.front().failed());
}

// A device that computes right, but reads one byte of its weights wrong.
class FaultyDevice final : public Backend {
 public:
  explicit FaultyDevice(size_t faulty_byte) : faulty_byte_(faulty_byte) {}

  std::string_view name() const override { return "faulty"; }
  uint64_t workspace_bytes(const Program& program, const MaxBatch& max) const override {
    return exact_->workspace_bytes(program, max);
  }
  uint64_t cache_block_bytes(const Program& program, CacheType type) const override {
    return exact_->cache_block_bytes(program, type);
  }
  Result<std::unique_ptr<Cache>> make_cache(const Program& program, CacheType type,
                                            const BlockCounts& blocks, uint32_t states) override {
    return exact_->make_cache(program, type, blocks, states);
  }
  Result<std::unique_ptr<Executable>> compile(const Program& program,
                                              std::span<const gguf::TensorView> weights,
                                              Cache& cache, const MaxBatch& max, WeightHome home,
                                              const PackObserver& packed) override {
    bytes_.assign(weights[0].bytes.begin(), weights[0].bytes.end());
    if (faulty_byte_ < bytes_.size()) bytes_[faulty_byte_] ^= std::byte{0x10};
    weights_.assign(weights.begin(), weights.end());
    weights_[0].bytes = bytes_;
    return exact_->compile(program, weights_, cache, max, home, packed);
  }

 private:
  const size_t faulty_byte_;
  const std::unique_ptr<Backend> exact_ = make_reference_backend();
  std::vector<std::byte> bytes_;
  std::vector<gguf::TensorView> weights_;
};

TEST(CheckDevice, findsNothingWrongWithTheReference) {
  FaultyDevice device(SIZE_MAX);
  for (const gguf::Format format : {gguf::Format::Q4_1, gguf::Format::IQ3_S}) {
    const auto findings = check_device(format, device);
    EXPECT_EQ(findings.size(), 3u);
    for (const Finding& finding : findings) EXPECT_EQ(finding.problem, "") << finding.check;
  }
}

// Byte 7 of block 10 holds codes 5 and 21; of the blocks of one repeated byte 0x0A.
TEST(CheckDevice, namesBlockRowAndShaderOfAWrongDecode) {
  const gguf::FormatInfo& format = gguf::info(gguf::Format::Q4_0);
  FaultyDevice device(10 * format.block_bytes + 7);
  const auto findings = check_device(format.format, device);
  EXPECT_THAT(findings[0].problem, testing::HasSubstr("block 10, value 21: "));
  EXPECT_THAT(findings[1].problem, testing::HasSubstr("row 3, token 0: "));
  EXPECT_THAT(findings[2].problem, testing::HasSubstr("row 3, token 0: "));
  for (const Finding& finding : findings) {
    EXPECT_THAT(finding.problem, testing::HasSubstr("(shaders/decode/q4_0.glsl)"));
  }
}

TEST(EncoderErrors, fallWithBits) {
  EXPECT_LT(encoder_errors(gguf::Format::Q8_0).normal, encoder_errors(gguf::Format::Q4_0).normal);
  EXPECT_LT(encoder_errors(gguf::Format::Q4_K).heavy_tail,
            encoder_errors(gguf::Format::Q2_K).heavy_tail);
}

}  // namespace
}  // namespace quern::kernels
