// The CPU's key and value cache, laid out for its attention kernels.
//
// A tile is what one key/value head keeps of a block (64 positions):
//   keys    [key_width][64 positions]         so that a vector lane is a position
//   scales  [key_width / 32][64 positions]    (q8_0) one f16 per position and 32 values
// and apart from it
//   values  [64 positions][value_stride]      so that a vector lane is a value
//   scales  [value_stride / 32][64 positions] (q8_0)
// with value_stride = value_width rounded up to 32. Where values are shared with keys there are
// only keys. Eight blocks lie together, and in them what one head keeps: [block /
// 8][layer][head][keys, values][block % 8], per group of layers. A sequence whose blocks follow one
// another is then read in long runs, which the processor's own prefetching follows, and a short one
// touches little memory.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/aligned_buffer.h"
#include "kernels/cpu/states.h"

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
  bool shared;  // values are the last value_width of a key, there are no tiles of values
  size_t key_scales, key_bytes;      // offset in a tile of keys, and its size
  size_t value_scales, value_bytes;  // the same of values
};

// Writes one position (0 … 63) of a tile: key [key_width] or value [value_width].
void store_key(const TileLayout& layout, std::byte* keys, uint32_t position, const float* key);
void store_value(const TileLayout& layout, std::byte* values, uint32_t position,
                 const float* value);

class CpuCache final : public Cache {
 public:
  static Result<std::unique_ptr<CpuCache>> make(const Program& program, CacheType type,
                                                const BlockCounts& blocks, uint32_t states = 0);
  static uint64_t block_bytes(const Program& program, CacheType type);

  uint64_t bytes() const override;
  const States& states() const { return states_; }
  void copy_block(uint32_t group, uint32_t from, uint32_t to) override;

  const TileLayout& layout(uint32_t layer) const { return layers_[layer].layout; }
  std::byte* keys(uint32_t layer, uint32_t block, uint32_t head) const {
    const TileLayout& l = layers_[layer].layout;
    return tiles(layer, block, head) + block % kRun * l.key_bytes;
  }
  std::byte* values(uint32_t layer, uint32_t block, uint32_t head) const {
    const TileLayout& l = layers_[layer].layout;
    return tiles(layer, block, head) + group_of(layer).run_length(block) * l.key_bytes +
           block % kRun * l.value_bytes;
  }

 private:
  static constexpr size_t kRun = 8;  // blocks that lie together

  struct Layer {
    TileLayout layout;
    uint32_t heads, group;
    size_t offset;  // where it starts, per block
  };
  // Layers whose blocks have the same numbers.
  struct Group {
    size_t blocks;
    size_t block_bytes = 0;
    AlignedBuffer memory = {};

    // Of the run that a block belongs to, in blocks: the last one may be shorter.
    size_t run_length(uint32_t block) const { return std::min(kRun, blocks - block / kRun * kRun); }
  };

  CpuCache(const Program& program, CacheType type, const BlockCounts& blocks);

  const Group& group_of(uint32_t layer) const { return groups_[layers_[layer].group]; }
  // What a head keeps of the run of a block.
  std::byte* tiles(uint32_t layer, uint32_t block, uint32_t head) const {
    const Layer& l = layers_[layer];
    const Group& group = groups_[l.group];
    const size_t in_run = l.offset + head * (l.layout.key_bytes + l.layout.value_bytes);
    return group.memory.data() + block / kRun * kRun * group.block_bytes +
           group.run_length(block) * in_run;
  }

  std::vector<Layer> layers_;
  std::vector<Group> groups_;
  States states_;
};

}  // namespace quern::kernels::cpu
