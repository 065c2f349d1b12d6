#include "gguf/validate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/cpu/reference.h"

namespace quern::gguf {
namespace {

TensorView view(Format format, std::vector<std::byte>& bytes) {
  TensorView tensor;
  tensor.format = format;
  tensor.shape[0] = bytes.size() / info(format).block_bytes * info(format).block_values;
  tensor.bytes = bytes;
  return tensor;
}

// Every bit of one block of every format is flipped: a block is corrupt exactly when it decodes to
// a value that is not finite. (MXFP4's scale 255 is reserved; 254 and 253 overflow with large
// codes.)
TEST(FindCorruptBlock, agreesWithWhatBlocksDecodeTo) {
  for (const FormatInfo& format : kFormats) {
    SCOPED_TRACE(format.name);
    if (format.format == Format::MXFP4) continue;
    for (int fill : {0x00, 0x7C, 0x7B, 0xFF, 0x80}) {
      for (uint32_t bit = 0; bit < format.block_bytes * 8; ++bit) {
        std::vector<std::byte> bytes(format.block_bytes, static_cast<std::byte>(fill));
        bytes[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
        std::vector<float> values(format.block_values);
        kernels::cpu::reference::decode_row(format.format, bytes.data(), values.data(),
                                            values.size());
        bool all_finite = true;
        for (const float value : values) all_finite &= std::isfinite(value);
        const bool corrupt = find_corrupt_block(view(format.format, bytes)).has_value();
        // A scale that is not finite times a code 0 is NaN too, so nothing hides it.
        ASSERT_EQ(corrupt, !all_finite) << "fill " << fill << ", bit " << bit;
      }
    }
  }
}

TEST(FindCorruptBlock, refusesTheReservedScaleOfMxfp4) {
  std::vector<std::byte> bytes(17 * 3, std::byte{0x10});
  EXPECT_FALSE(find_corrupt_block(view(Format::MXFP4, bytes)));
  bytes[17 * 2] = std::byte{255};
  EXPECT_EQ(find_corrupt_block(view(Format::MXFP4, bytes)), 2u);
}

TEST(FindCorruptBlock, namesTheFirstOfMany) {
  std::vector<std::byte> bytes(144 * 1000);
  EXPECT_FALSE(find_corrupt_block(view(Format::Q4_K, bytes)));
  bytes[144 * 999 + 1] = std::byte{0x7C};
  EXPECT_EQ(find_corrupt_block(view(Format::Q4_K, bytes)), 999u);
  bytes[144 * 300 + 3] = std::byte{0xFC};
  EXPECT_EQ(find_corrupt_block(view(Format::Q4_K, bytes)), 300u);
}

}  // namespace
}  // namespace quern::gguf
