#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

#include "kernels/cpu/matmul.h"
#include "kernels/cpu/reference.h"
#include "tests/kernels/random_blocks.h"
#include "tests/kernels/targets.h"

namespace quern::kernels::cpu {
namespace {

class DecodeRow : public ::testing::TestWithParam<gguf::FormatInfo> {};

TEST_P(DecodeRow, equalsTheReferenceToTheBitOnEveryInstructionSet) {
  const gguf::FormatInfo& format = GetParam();
  std::mt19937 random(11);
  for (const size_t blocks : {1, 3, 15, 16, 17, 40}) {
    const size_t values = blocks * format.block_values;
    std::vector<std::byte> row = test::random_matrix(format, 1, values, random);
    std::vector<float> expected(values), found(values);
    reference::decode_row(format.format, row.data(), expected.data(), values);
    test::for_each_instruction_set([&](bool) {
      std::ranges::fill(found, -1.0f);
      decode_row(format.format, row.data(), found.data(), values);
      ASSERT_EQ(std::memcmp(found.data(), expected.data(), values * sizeof(float)), 0)
          << format.name << ", " << blocks << " blocks";
    });
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, DecodeRow, ::testing::ValuesIn(gguf::kFormats),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace quern::kernels::cpu
