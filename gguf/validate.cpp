#include "gguf/validate.h"

namespace quern::gguf {
namespace {

bool finite_f16(uint16_t bits) { return (bits & 0x7C00) != 0x7C00; }

// Every scale-like field of a block, by its name in block_layout.h.
template <typename Block>
bool finite(const Block& block) {
  bool good = true;
  if constexpr (requires { block.d; }) good &= finite_f16(block.d);
  if constexpr (requires { block.dmin; }) good &= finite_f16(block.dmin);
  if constexpr (requires { block.m; }) good &= finite_f16(block.m);
  return good;
}

bool finite(const BlockF32& block) {
  return (block.bytes[3] & 0x7F) != 0x7F || (block.bytes[2] & 0x80) == 0;
}
bool finite(const BlockF16& block) { return finite_f16(block.bits); }
bool finite(const BlockBF16& block) { return (block.bits & 0x7F80) != 0x7F80; }
// Its binary16 scale is spread over the upper four bits of four words.
bool finite(const BlockIQ1_M& block) {
  return finite_f16(static_cast<uint16_t>(block.scales[0] >> 12 | (block.scales[1] >> 12) << 4 |
                                          (block.scales[2] >> 12) << 8 |
                                          (block.scales[3] >> 12) << 12));
}
bool finite(const BlockMXFP4& block) { return block.e != 255; }

template <Format format>
std::optional<uint64_t> find_corrupt(const TensorView& tensor) {
  using Block = typename Traits<format>::Block;
  const auto* blocks = reinterpret_cast<const Block*>(tensor.bytes.data());
  const uint64_t count = tensor.bytes.size() / sizeof(Block);
  // Chunks without an early exit inside, so that the compiler can use vectors.
  constexpr uint64_t kChunk = 256;
  for (uint64_t first = 0; first < count; first += kChunk) {
    const uint64_t end = first + kChunk < count ? first + kChunk : count;
    bool good = true;
    for (uint64_t i = first; i < end; ++i) good &= finite(blocks[i]);
    if (good) continue;
    for (uint64_t i = first; i < end; ++i) {
      if (!finite(blocks[i])) return i;
    }
  }
  return std::nullopt;
}

}  // namespace

std::optional<uint64_t> find_corrupt_block(const TensorView& tensor) {
  switch (tensor.format) {
#define QUERN_FORMAT(name, ...) \
  case Format::name:            \
    return find_corrupt<Format::name>(tensor);
#include "gguf/formats.def"
#undef QUERN_FORMAT
  }
  return std::nullopt;
}

}  // namespace quern::gguf
