#include "kernels/conformance_blocks.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cctype>
#include <cmath>
#include <random>

#include "gguf/validate.h"
#include "kernels/cpu/reference.h"

namespace quern::kernels::conformance {
namespace {

using gguf::FormatInfo;

bool is_valid(const FormatInfo& format, std::span<const std::byte> block) {
  const gguf::TensorView tensor{.name = {},
                                .format = format.format,
                                .shape = {format.block_values, 1, 1, 1},
                                .dims = 1,
                                .bytes = block};
  if (gguf::find_corrupt_block(tensor)) return false;
  // Sums of larger values would not be finite.
  std::vector<float> values(format.block_values);
  cpu::reference::decode_row(format.format, block.data(), values.data(), values.size());
  return std::ranges::all_of(values, [](float v) { return std::abs(v) < 1e9f; });
}

// Edge blocks of one format, as they are made.
class EdgeBlocks {
 public:
  explicit EdgeBlocks(const FormatInfo& format) : format_(format), block_(format.block_bytes) {}

  void add_repeated_bytes() {
    for (unsigned byte = 0; byte < 256; ++byte) {
      std::ranges::fill(block_, static_cast<std::byte>(byte));
      add();
    }
  }
  void add_single_bits() {
    for (size_t bit = 0; bit < 8 * block_.size(); ++bit) {
      std::ranges::fill(block_, std::byte{0});
      block_[bit / 8] = static_cast<std::byte>(1 << bit % 8);
      add();
    }
  }
  void add_random(int count) {
    for (int i = 0; i < count; ++i) {
      randomize();
      add();
    }
  }
  // binary16: 0, the smallest and the largest subnormal, the smallest normal, 1024, and the same
  // below zero.
  void add_scales() {
    for (const unsigned half : {0x0000, 0x0001, 0x03FF, 0x0400, 0x6400}) {
      for (size_t at = 0; at + 1 < block_.size(); ++at) {
        randomize();
        block_[at] = static_cast<std::byte>(half);
        block_[at + 1] = static_cast<std::byte>(half >> 8 | (at % 2 ? 0x80 : 0));
        add();
      }
    }
  }
  Bytes take() { return std::move(all_); }

 private:
  void randomize() {
    for (std::byte& byte : block_) byte = static_cast<std::byte>(random_());
  }
  void add() {
    if (is_valid(format_, block_)) all_.insert(all_.end(), block_.begin(), block_.end());
  }

  const FormatInfo& format_;
  std::mt19937 random_{kSeed};
  Bytes block_, all_;
};

}  // namespace

Bytes edge_blocks(const FormatInfo& format) {
  EdgeBlocks blocks(format);
  blocks.add_repeated_bytes();
  blocks.add_single_bits();
  blocks.add_random(500);
  blocks.add_scales();
  return blocks.take();
}

// Where two rows of values differ in their bits; empty if nowhere.
std::string difference(std::span<const float> found, std::span<const float> expected,
                       size_t block_values) {
  for (size_t i = 0; i < found.size(); ++i) {
    if (std::bit_cast<uint32_t>(found[i]) == std::bit_cast<uint32_t>(expected[i])) continue;
    return fmt::format("block {}, value {}: {} instead of {}", i / block_values, i % block_values,
                       found[i], expected[i]);
  }
  return {};
}

std::string file_name(const FormatInfo& format) {
  std::string name(format.name);
  for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return name;
}

std::string block_name(const FormatInfo& format) {
  std::string name(format.name);
  for (char& c : name) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return "Block" + name;
}

}  // namespace quern::kernels::conformance
