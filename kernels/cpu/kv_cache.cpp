#include "kernels/cpu/kv_cache.h"

#include <cstring>

namespace quern::kernels::cpu {
TileLayout::TileLayout(const Heads& heads, CacheType cache_type)
    : type(cache_type),
      key_width(heads.key_width),
      value_width(heads.value_width),
      value_stride((heads.value_width + kScaleGroup - 1) / kScaleGroup * kScaleGroup),
      shared(heads.shared) {
  const size_t row_bytes = kTilePositions * code_bytes();  // of one value of all positions
  const size_t scale_bytes = type == CacheType::kQ8_0 ? kTilePositions * sizeof(uint16_t) : 0;
  key_scales = align_up(key_width * row_bytes);
  key_bytes = align_up(key_scales + (key_width + kScaleGroup - 1) / kScaleGroup * scale_bytes);
  value_scales = align_up(value_stride * row_bytes);
  value_bytes = shared ? 0 : align_up(value_scales + value_stride / kScaleGroup * scale_bytes);
}

CpuCache::CpuCache(const Program& program, CacheType type, const BlockCounts& blocks) {
  for (size_t group = 0; group < program.windows.size(); ++group)
    groups_.push_back({blocks[group]});
  for (const Heads& heads : program.layers) {
    const TileLayout layout(heads, type);
    Group& group = groups_[heads.group];
    layers_.push_back({layout, heads.keys, heads.group, group.block_bytes});
    group.block_bytes += (layout.key_bytes + layout.value_bytes) * heads.keys;
  }
}

uint64_t CpuCache::block_bytes(const Program& program, CacheType type) {
  uint64_t bytes = 0;
  for (const Group& group : CpuCache(program, type, 0).groups_) bytes += group.block_bytes;
  return bytes;
}

uint64_t CpuCache::bytes() const {
  uint64_t bytes = states_.bytes();
  for (const Group& group : groups_) bytes += group.memory.size();
  return bytes;
}

Result<std::unique_ptr<CpuCache>> CpuCache::make(const Program& program, CacheType type,
                                                 const BlockCounts& blocks, uint32_t states) {
  std::unique_ptr<CpuCache> cache(new CpuCache(program, type, blocks));
  for (Group& group : cache->groups_) {
    QUERN_TRY(group.memory, AlignedBuffer::allocate(group.block_bytes, group.blocks));
  }
  QUERN_TRY(cache->states_, States::allocate(program, states));
  return cache;
}

void CpuCache::copy_block(uint32_t group, uint32_t from, uint32_t to) {
  for (uint32_t layer = 0; layer < layers_.size(); ++layer) {
    if (layers_[layer].group != group) continue;
    const TileLayout& l = layout(layer);
    for (uint32_t head = 0; head < layers_[layer].heads; ++head) {
      std::memcpy(keys(layer, to, head), keys(layer, from, head), l.key_bytes);
      std::memcpy(values(layer, to, head), values(layer, from, head), l.value_bytes);
    }
  }
}

}  // namespace quern::kernels::cpu
