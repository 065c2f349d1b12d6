#include "kernels/cpu/kv_cache.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/cpu/f16.h"

namespace quern::kernels::cpu {
namespace {

size_t code_bytes(CacheType type) {
  switch (type) {
    case CacheType::kF32:
      return 4;
    case CacheType::kF16:
      return 2;
    case CacheType::kQ8_0:
      return 1;
  }
  return 0;
}

// Stores x[count] with element i at data[i * stride], scales at scales[i / 32 * scale_stride].
void store_vector(CacheType type, const float* x, uint32_t count, std::byte* data, size_t stride,
                  std::byte* scales, size_t scale_stride) {
  switch (type) {
    case CacheType::kF32:
      for (uint32_t i = 0; i < count; ++i) reinterpret_cast<float*>(data)[i * stride] = x[i];
      return;
    case CacheType::kF16:
      for (uint32_t i = 0; i < count; ++i) {
        reinterpret_cast<uint16_t*>(data)[i * stride] = f32_to_f16(x[i]);
      }
      return;
    case CacheType::kQ8_0:
      for (uint32_t first = 0; first < count; first += kScaleGroup) {
        const uint32_t end = std::min(count, first + kScaleGroup);
        float largest = 0;
        bool finite = true;
        for (uint32_t i = first; i < end; ++i) {
          largest = std::max(largest, std::abs(x[i]));
          finite = finite && std::isfinite(x[i]);
        }
        // Not finite: zero codes under a NaN scale, so that the result shows it.
        const float scale = finite ? largest / 127.0f : NAN;
        const float inverse = scale >= 0x1p-126f ? 1.0f / scale : 0.0f;
        reinterpret_cast<uint16_t*>(scales)[first / kScaleGroup * scale_stride] = f32_to_f16(scale);
        for (uint32_t i = first; i < end; ++i) {
          const float code = inverse > 0 ? std::nearbyint(x[i] * inverse) : 0.0f;
          reinterpret_cast<int8_t*>(data)[i * stride] = static_cast<int8_t>(code);
        }
      }
      return;
  }
}

}  // namespace

TileLayout::TileLayout(const Heads& heads, CacheType cache_type)
    : type(cache_type),
      key_width(heads.key_width),
      value_width(heads.value_width),
      value_stride((heads.value_width + kScaleGroup - 1) / kScaleGroup * kScaleGroup) {
  const bool scaled = type == CacheType::kQ8_0;
  const size_t key_groups = (key_width + kScaleGroup - 1) / kScaleGroup;
  const size_t value_groups = value_stride / kScaleGroup;
  const size_t scale_bytes = scaled ? kTilePositions * sizeof(uint16_t) : 0;  // of one group
  const size_t row_bytes = kTilePositions * code_bytes(type);  // of one value of all positions
  key_scales = align_up(key_width * row_bytes);
  values = align_up(key_scales + key_groups * scale_bytes);
  value_scales = align_up(values + value_stride * row_bytes);
  bytes = align_up(value_scales + value_groups * scale_bytes);
}

void store_key(const TileLayout& layout, std::byte* tile, uint32_t position, const float* key) {
  store_vector(layout.type, key, layout.key_width, tile + position * code_bytes(layout.type),
               kTilePositions, tile + layout.key_scales + position * sizeof(uint16_t),
               kTilePositions);
}

void store_value(const TileLayout& layout, std::byte* tile, uint32_t position, const float* value) {
  const size_t row = static_cast<size_t>(position) * layout.value_stride;
  store_vector(layout.type, value, layout.value_width,
               tile + layout.values + row * code_bytes(layout.type), 1,
               tile + layout.value_scales + row / kScaleGroup * sizeof(uint16_t), 1);
}

CpuCache::CpuCache(const Program& program, CacheType type) {
  for (const Heads& heads : program.layers) {
    const TileLayout layout(heads, type);
    layers_.push_back({layout, block_bytes_});
    block_bytes_ += layout.bytes * (kBlockPositions / kTilePositions) * heads.keys;
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
