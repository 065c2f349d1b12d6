// The key and value cache on a device, and the slots of recurrent states. A layer has one range for
// keys and one for values, both in blocks of kBlockPositions positions; how a block is laid out is
// written in shaders/shared.h. A recurrent operation has one range for its states in all slots.
#pragma once

#include <vector>

#include "kernels/backend.h"
#include "kernels/vulkan/arena.h"

namespace quern::kernels::vulkan {

class VulkanCache final : public Cache {
 public:
  static Result<std::unique_ptr<VulkanCache>> make(Device& device, const Program& program,
                                                   CacheType type, const BlockCounts& blocks,
                                                   uint32_t slots = 0);
  // Of all layers.
  static uint64_t block_bytes(const Program& program, CacheType type);

  // Of all buffers, and see Arena.
  struct Bytes {
    uint64_t all, largest;
  };
  // Of a cache of so many blocks.
  static Bytes bytes(const Program& program, CacheType type, const BlockCounts& blocks,
                     uint64_t max_allocation);

  // Of the states in so many slots.
  static Bytes state_bytes(const Program& program, uint64_t slots, uint64_t max_allocation);

  uint64_t bytes() const override { return arena_.bytes() + states_.bytes(); }
  // A failure of the device is kept for the next run, as this cannot return it.
  void copy_block(uint32_t group, uint32_t from, uint32_t to) override;

  // One of a layer's two ranges, and the bytes of a block in it.
  struct Part {
    Range range;
    uint64_t block_bytes;
  };
  Part keys(uint32_t layer) const { return part(2 * size_t{layer}); }
  Part values(uint32_t layer) const { return part(2 * size_t{layer} + 1); }

  // Of a recurrent operation: f32 [slots][values].
  Range states(uint32_t state) const { return states_.range(state); }

  CacheType type() const { return type_; }
  const Status& status() const { return status_; }

 private:
  VulkanCache(Device& device, CacheType type)
      : device_(device),
        type_(type),
        arena_(device.caps().max_allocation),
        states_(device.caps().max_allocation) {}
  Part part(size_t i) const { return {arena_.range(i), block_bytes_[i]}; }

  Device& device_;
  CacheType type_;
  Arena arena_;                        // range 2 * layer holds keys, the next one values
  std::vector<uint64_t> block_bytes_;  // of each range
  std::vector<uint32_t> groups_;       // of each layer
  Arena states_;                       // by index into Program::states
  Status status_;
};

}  // namespace quern::kernels::vulkan
