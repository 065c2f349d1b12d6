#include "kernels/random_weights.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/cpu/reference.h"

namespace quern::kernels {
namespace {

TEST(RandomWeights, haveTheWantedDeviationAndAreCentredInEveryFormat) {
  for (const gguf::FormatInfo& format : gguf::kFormats) {
    SCOPED_TRACE(format.name);
    constexpr float kDeviation = 0.02f;
    std::vector<std::byte> bytes(format.row_bytes(64 * 256));
    random_weights(format.format, kDeviation, 5, bytes);
    std::vector<float> values(64 * 256);
    cpu::reference::decode_row(format.format, bytes.data(), values.data(), values.size());
    double sum = 0, squares = 0;
    for (const float value : values) {
      ASSERT_TRUE(std::isfinite(value));
      sum += value;
      squares += static_cast<double>(value) * value;
    }
    const double deviation = std::sqrt(squares / static_cast<double>(values.size()));
    // Formats whose scale is a power of two lose up to a factor of two; NVFP4's smallest is 2^-7.
    EXPECT_GT(deviation, kDeviation * 0.45);
    EXPECT_LT(deviation, kDeviation * (format.format == gguf::Format::NVFP4 ? 3 : 1.6));
    EXPECT_LT(std::abs(sum / static_cast<double>(values.size())), kDeviation * 0.75);
  }
}

TEST(RandomWeights, dependOnTheSeedAlone) {
  std::vector<std::byte> a(144 * 10), b(144 * 10), c(144 * 10);
  random_weights(gguf::Format::Q4_K, 0.02f, 1, a);
  random_weights(gguf::Format::Q4_K, 0.02f, 1, b);
  random_weights(gguf::Format::Q4_K, 0.02f, 2, c);
  EXPECT_EQ(a, b);
  EXPECT_NE(a, c);
}

}  // namespace
}  // namespace quern::kernels
