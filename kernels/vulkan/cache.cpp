#include "kernels/vulkan/cache.h"

#include <numeric>

namespace quern::kernels::vulkan {
namespace {

constexpr uint64_t kScaleGroup = 32;  // values of a head that share a scale in a q8_0 cache

// Of one head's key or value at one position.
uint64_t entry_bytes(uint64_t width, CacheType type) {
  switch (type) {
    case CacheType::kF32:
      return width * 4;
    case CacheType::kF16:
      return width * 2;
    case CacheType::kQ8_0:
      return width + (width + kScaleGroup - 1) / kScaleGroup * 2;
  }
  return 0;
}

// Per layer: the bytes of a block of keys, of a block of values.
std::vector<uint64_t> part_bytes(const Program& program, CacheType type) {
  std::vector<uint64_t> bytes;
  for (const Heads& heads : program.layers) {
    const uint64_t entries = uint64_t{heads.keys} * kBlockPositions;
    bytes.push_back(entries * entry_bytes(heads.key_width, type));
    bytes.push_back(entries * entry_bytes(heads.kept_values(), type));
  }
  return bytes;
}

// Each part's range, with room for the blocks of its group.
void add_parts(Arena& arena, const Program& program, std::span<const uint64_t> bytes,
               const BlockCounts& blocks) {
  for (size_t i = 0; i < bytes.size(); ++i) {
    arena.add(bytes[i] * blocks[program.layers[i / 2].group]);
  }
}

}  // namespace

uint64_t VulkanCache::block_bytes(const Program& program, CacheType type) {
  const std::vector<uint64_t> parts = part_bytes(program, type);
  return std::accumulate(parts.begin(), parts.end(), uint64_t{0});
}

VulkanCache::Bytes VulkanCache::bytes(const Program& program, CacheType type,
                                      const BlockCounts& blocks, uint64_t max_allocation) {
  Arena arena(max_allocation);
  add_parts(arena, program, part_bytes(program, type), blocks);
  return {arena.bytes(), arena.largest()};
}

VulkanCache::Bytes VulkanCache::state_bytes(const Program& program, uint64_t slots,
                                            uint64_t max_allocation) {
  Arena arena(max_allocation);
  for (const uint32_t floats : program.states) arena.add(floats * slots * sizeof(float));
  return {arena.bytes(), arena.largest()};
}

Result<std::unique_ptr<VulkanCache>> VulkanCache::make(Device& device, const Program& program,
                                                       CacheType type, const BlockCounts& blocks,
                                                       uint32_t slots) {
  std::unique_ptr<VulkanCache> cache(new VulkanCache(device, type));
  cache->block_bytes_ = part_bytes(program, type);
  for (const Heads& heads : program.layers) cache->groups_.push_back(heads.group);
  add_parts(cache->arena_, program, cache->block_bytes_, blocks);
  for (const uint32_t floats : program.states) {
    cache->states_.add(uint64_t{floats} * slots * sizeof(float));
  }
  QUERN_CHECK(cache->arena_.allocate(device, Memory::kDevice));
  QUERN_CHECK(cache->states_.allocate(device, Memory::kDevice));
  return cache;
}

void VulkanCache::copy_block(uint32_t group, uint32_t from, uint32_t to) {
  const Status copied = device_.run([&](VkCommandBuffer commands) {
    for (size_t i = 0; i < block_bytes_.size(); ++i) {
      if (groups_[i / 2] != group || block_bytes_[i] == 0) continue;
      const uint64_t bytes = block_bytes_[i], start = arena_.offset(i);
      const VkBufferCopy region = {start + from * bytes, start + to * bytes, bytes};
      const VkBuffer buffer = arena_.buffer(i).handle();
      device_.api().vkCmdCopyBuffer(commands, buffer, buffer, 1, &region);
    }
  });
  if (!copied) status_ = copied;
}

}  // namespace quern::kernels::vulkan
