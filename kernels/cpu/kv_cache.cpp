#include "kernels/cpu/kv_cache.h"

#include <cstring>

namespace quern::kernels::cpu {
TileLayout::TileLayout(const Heads& heads, CacheType cache_type)
    : type(cache_type),
      key_width(heads.key_width),
      value_width(heads.value_width),
      value_stride((heads.value_width + kScaleGroup - 1) / kScaleGroup * kScaleGroup) {
  const bool scaled = type == CacheType::kQ8_0;
  const size_t key_groups = (key_width + kScaleGroup - 1) / kScaleGroup;
  const size_t value_groups = value_stride / kScaleGroup;
  const size_t scale_bytes = scaled ? kTilePositions * sizeof(uint16_t) : 0;  // of one group
  const size_t row_bytes = kTilePositions * code_bytes();  // of one value of all positions
  key_scales = align_up(key_width * row_bytes);
  values = align_up(key_scales + key_groups * scale_bytes);
  value_scales = align_up(values + value_stride * row_bytes);
  bytes = align_up(value_scales + value_groups * scale_bytes);
}

CpuCache::CpuCache(const Program& program, CacheType type) {
  for (const Heads& heads : program.layers) {
    const TileLayout layout(heads, type);
    layers_.push_back({layout, block_bytes_});
    block_bytes_ += layout.bytes * heads.keys;
  }
}

uint64_t CpuCache::block_bytes(const Program& program, CacheType type) {
  return CpuCache(program, type).block_bytes_;
}

Result<std::unique_ptr<CpuCache>> CpuCache::make(const Program& program, CacheType type,
                                                 uint32_t blocks) {
  std::unique_ptr<CpuCache> cache(new CpuCache(program, type));
  QUERN_TRY(cache->memory_, AlignedBuffer::allocate(cache->block_bytes_, blocks));
  return cache;
}

void CpuCache::copy_block(uint32_t from, uint32_t to) {
  std::memcpy(memory_.data() + to * block_bytes_, memory_.data() + from * block_bytes_,
              block_bytes_);
}

}  // namespace quern::kernels::cpu
