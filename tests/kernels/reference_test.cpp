#include "kernels/cpu/reference.h"

#include <gtest/gtest.h>

#include <bit>
#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "kernels/cpu/codebooks.h"
#include "tests/golden_path.h"
#include "tests/kernels/golden_tensors.h"

namespace quern::kernels::cpu {
namespace {

class ReferenceDecode : public testing::TestWithParam<gguf::FormatInfo> {};

TEST_P(ReferenceDecode, equalsTheGoldenVectorsToTheBit) {
  static const test::GoldenTensors golden(test::own_golden("dequant.gguf"));
  size_t found = 0;
  for (const auto& [name, tensor] : golden.all()) {
    const auto decoded = golden.all().find(name + "/f32");
    if (tensor.type != GetParam().type_id || decoded == golden.all().end()) continue;
    ++found;
    const size_t values = tensor.shape[0] * tensor.shape[1];
    std::vector<float> out(values);
    reference::decode_row(GetParam().format, tensor.bytes, out.data(), values);
    std::vector<float> expected(values);
    std::memcpy(expected.data(), decoded->second.bytes, values * sizeof(float));
    for (size_t i = 0; i < values; ++i) {
      ASSERT_EQ(std::bit_cast<uint32_t>(out[i]), std::bit_cast<uint32_t>(expected[i]))
          << name << ", value " << i << ": " << out[i] << " instead of " << expected[i];
    }
  }
  EXPECT_EQ(found, 2u);
}

std::string format_name(const testing::TestParamInfo<gguf::FormatInfo>& info) {
  return std::string(info.param.name);
}
INSTANTIATE_TEST_SUITE_P(All, ReferenceDecode, testing::ValuesIn(gguf::kFormats), format_name);

template <typename Book>
void expect_codebook(const Book& book, const nlohmann::json& golden) {
  ASSERT_EQ(golden.size(), book.size());
  for (size_t entry = 0; entry < book.size(); ++entry) {
    for (size_t j = 0; j < book[entry].size(); ++j) {
      ASSERT_EQ(book[entry][j], golden[entry][j].get<int>()) << entry << ", " << j;
    }
  }
}

TEST(Codebooks, equalTheGoldenLists) {
  std::ifstream in(test::own_golden("codebooks.json"));
  const auto golden = nlohmann::json::parse(in);
  expect_codebook(kIq2XxsCodebook, golden.at("iq2_xxs"));
  expect_codebook(kIq2XsCodebook, golden.at("iq2_xs"));
  expect_codebook(kIq2SCodebook, golden.at("iq2_s"));
  expect_codebook(kIq3XxsCodebook, golden.at("iq3_xxs"));
  expect_codebook(kIq3SCodebook, golden.at("iq3_s"));
  expect_codebook(kIq1Codebook, golden.at("iq1_s"));
  for (size_t i = 0; i < 16; ++i) {
    EXPECT_EQ(kNl4Codes[i], golden.at("iq4_nl")[i].get<int>());
    EXPECT_EQ(kFp4Codes[i], golden.at("mxfp4")[i].get<int>());
  }
  for (uint32_t i = 0; i < 128; ++i) {
    EXPECT_EQ(sign_mask(i), golden.at("sign_masks_7bit")[i].get<int>());
  }
}

}  // namespace
}  // namespace quern::kernels::cpu
