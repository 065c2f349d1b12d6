#include "kernels/random_weights.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/cpu/f16.h"
#include "kernels/cpu/reference.h"

namespace quern::kernels {
namespace {

using gguf::Format;

// SplitMix64 (Steele, Lea and Flood 2014).
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t next() {
    uint64_t z = state_ += 0x9E3779B97F4A7C15;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
    z = (z ^ z >> 27) * 0x94D049BB133111EB;
    return z ^ z >> 31;
  }
  void fill(std::span<std::byte> out) {
    for (size_t i = 0; i < out.size(); i += 8) {
      const uint64_t bits = next();
      std::memcpy(&out[i], &bits, std::min<size_t>(8, out.size() - i));
    }
  }
  // The sum of four uniform numbers, deviation 1: no library function, so equal everywhere.
  float normal() {
    const uint64_t bits = next();
    float sum = 0;
    for (int i = 0; i < 4; ++i) sum += static_cast<float>(bits >> 16 * i & 0xFFFF) / 65535.0f;
    return (sum - 2.0f) * std::sqrt(3.0f);
  }

 private:
  uint64_t state_;
};

// What a block's codes are multiplied with and, where the format has one, what its minimum is.
struct Scales {
  float scale, minimum;
};

template <typename Block>
void set_scales(Block& block, const Scales& scales) {
  block.d = cpu::f32_to_f16(scales.scale);
  if constexpr (requires { block.dmin; }) block.dmin = cpu::f32_to_f16(scales.minimum);
  if constexpr (requires { block.m; }) block.m = cpu::f32_to_f16(-scales.minimum);
}
void set_scales(gguf::BlockIQ1_M& block, const Scales& scales) {
  const uint16_t bits = cpu::f32_to_f16(scales.scale);
  for (int i = 0; i < 4; ++i) {
    block.scales[i] =
        static_cast<uint16_t>((block.scales[i] & 0x0FFF) | (bits >> 4 * i & 0xF) << 12);
  }
}
// Powers of two, rounded down: E8M0 is 2^(e - 128), UE4M3 with mantissa 0 is 2^(E - 8).
void set_scales(gguf::BlockMXFP4& block, const Scales& scales) {
  block.e = static_cast<uint8_t>(std::ilogb(scales.scale) + 128);
}
void set_scales(gguf::BlockNVFP4& block, const Scales& scales) {
  const int exponent = std::clamp(std::ilogb(scales.scale) + 8, 1, 14);
  for (uint8_t& scale : block.scales) scale = static_cast<uint8_t>(exponent << 3);
}

struct Moments {
  double mean, deviation;
};

// Of what random codes decode to under the given scales.
template <Format format>
Moments measure(const Scales& scales) {
  using Block = typename gguf::Traits<format>::Block;
  constexpr size_t kBlocks = 64;
  Random random(1);
  std::vector<Block> blocks(kBlocks);
  random.fill(std::as_writable_bytes(std::span(blocks)));
  for (Block& block : blocks) set_scales(block, scales);
  std::vector<float> values(kBlocks * gguf::Traits<format>::kValues);
  cpu::reference::decode_row(format, reinterpret_cast<const std::byte*>(blocks.data()),
                             values.data(), values.size());
  double sum = 0, squares = 0;
  for (const float value : values) {
    sum += value;
    squares += static_cast<double>(value) * value;
  }
  const double mean = sum / static_cast<double>(values.size());
  return {mean, std::sqrt(squares / static_cast<double>(values.size()) - mean * mean)};
}

// Scales under which random codes have mean 0 and the deviation: decoding is linear in both scales.
template <Format format>
Scales solve(float deviation) {
  const double codes_mean = measure<format>({1, 0}).mean;
  const double minimum_mean = -measure<format>({0, 1}).mean;
  const double minimum = minimum_mean > 0 ? codes_mean / minimum_mean : 0;
  const Moments unit = measure<format>({1, static_cast<float>(minimum)});
  const double scale = deviation / unit.deviation;
  return {static_cast<float>(scale), static_cast<float>(scale * minimum)};
}

template <Format format>
void fill_blocks(float deviation, Random& random, std::span<std::byte> out) {
  using Block = typename gguf::Traits<format>::Block;
  const Scales scales = solve<format>(deviation);
  random.fill(out);
  auto* blocks = reinterpret_cast<Block*>(out.data());
  for (size_t i = 0; i < out.size() / sizeof(Block); ++i) set_scales(blocks[i], scales);
}

void fill_floats(Format format, float deviation, Random& random, std::span<std::byte> out) {
  const size_t size = gguf::info(format).block_bytes;
  for (size_t i = 0; i < out.size(); i += size) {
    const float value = random.normal() * deviation;
    if (format == Format::F32) {
      std::memcpy(&out[i], &value, size);
    } else {
      const auto bits = format == Format::F16
                            ? cpu::f32_to_f16(value)
                            : static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16);
      std::memcpy(&out[i], &bits, size);
    }
  }
}

}  // namespace

void random_weights(Format format, float deviation, uint64_t seed, std::span<std::byte> out) {
  Random random(seed);
  if (gguf::info(format).is_float()) return fill_floats(format, deviation, random, out);
  switch (format) {
#define QUERN_FORMAT(name, text, id, values, bytes, group, ...)                        \
  case Format::name:                                                                   \
    if constexpr (group > 0) return fill_blocks<Format::name>(deviation, random, out); \
    break;
#include "gguf/formats.def"
#undef QUERN_FORMAT
  }
}

}  // namespace quern::kernels
