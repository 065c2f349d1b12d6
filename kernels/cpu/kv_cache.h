// The CPU's key and value cache, laid out for its attention kernels.
//
// A block (64 positions) holds, per attention layer and key/value head, one tile:
//   keys    [key_width][64 positions]        so that a vector lane is a position
//   scales  [key_width / 32][64 positions]   (q8_0) one f16 per position and 32 values
//   values  [64 positions][value_stride]     so that a vector lane is a value
//   scales  [value_stride / 32][64 positions] (q8_0)
// with value_stride = value_width rounded up to 32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/aligned_buffer.h"

namespace quern::kernels::cpu {

inline constexpr uint32_t kTilePositions = kBlockPositions;
inline constexpr uint32_t kScaleGroup = 32;  // values per scale in a q8_0 cache

// Where the parts of one tile of one head lie, in bytes from its start.
struct TileLayout {
  TileLayout(const Heads& heads, CacheType type);

  // Bytes of one stored value, without its scale.
  size_t code_bytes() const {
    return type == CacheType::kF32 ? 4 : type == CacheType::kF16 ? 2 : 1;
  }

  CacheType type;
  uint32_t key_width, value_width, value_stride;
  size_t key_scales, values, value_scales, bytes;  // keys start at 0
};

// Writes one position (0 … 63) of a tile: key [key_width] and value [value_width].
void store_key(const TileLayout& layout, std::byte* tile, uint32_t position, const float* key);
void store_value(const TileLayout& layout, std::byte* tile, uint32_t position, const float* value);

class CpuCache final : public Cache {
 public:
  static Result<std::unique_ptr<CpuCache>> make(const Program& program, CacheType type,
                                                uint32_t blocks);
  static uint64_t block_bytes(const Program& program, CacheType type);

  uint64_t bytes() const override { return memory_.size(); }
  void copy_block(uint32_t from, uint32_t to) override;

  const TileLayout& layout(uint32_t layer) const { return layers_[layer].layout; }
  std::byte* tile(uint32_t layer, uint32_t block, uint32_t head) const {
    const Layer& l = layers_[layer];
    return memory_.data() + block * block_bytes_ + l.offset + head * l.layout.bytes;
  }

 private:
  struct Layer {
    TileLayout layout;
    size_t offset;  // of the layer inside a block
  };

  CpuCache(const Program& program, CacheType type);

  std::vector<Layer> layers_;
  size_t block_bytes_ = 0;
  AlignedBuffer memory_;
};

}  // namespace quern::kernels::cpu
