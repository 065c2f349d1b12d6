// Recorder: writes dispatches into a command buffer, with a barrier wherever one is needed.
//
// Dispatches between two barriers may run at the same time. Each one names the bytes it reads and
// writes; a barrier goes in front of the first one that touches what an earlier one writes, or
// writes what an earlier one reads. Memory that no dispatch writes (weights, parameters) need not
// be named.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kernels/vulkan/device.h"

namespace quern::kernels::vulkan {

// Bytes at a device address.
struct Range {
  uint64_t address, bytes;

  bool overlaps(const Range& other) const {
    return address < other.address + other.bytes && other.address < address + bytes;
  }
};

// Where something starts in a buffer.
struct Place {
  const Buffer& buffer;
  uint64_t offset;

  Range range(uint64_t bytes) const { return {buffer.address() + offset, bytes}; }
};

// What a dispatch touches.
struct Access {
  std::vector<Range> reads, writes;
};

// One entry of the record: a dispatch or copy, or a barrier between those before and those behind
// it.
struct Step {
  bool barrier = false;
  std::string kernel;
  Access access;
};

class Recorder {
 public:
  Recorder(const Device& device, VkCommandBuffer commands) : device_(device), commands_(commands) {}

  template <typename Push>
  void dispatch(const Kernel& kernel, const Push& push, Groups groups, Access access) {
    make_room(access);
    device_.dispatch(commands_, kernel, std::as_bytes(std::span(&push, 1)), groups);
    steps_.push_back({false, kernel.name, std::move(access)});
  }

  // Copies bytes, which lie in buffers at these places, under the same rules.
  void copy(const Place& from, const Place& to, uint64_t bytes);

  // Goes on in another command buffer, which is submitted after this one: the order of submissions
  // is a barrier of its own.
  void continue_in(VkCommandBuffer commands);

  const std::vector<Step>& steps() const { return steps_; }

 private:
  void make_room(const Access& access);

  const Device& device_;
  VkCommandBuffer commands_;
  std::vector<Step> steps_;
  size_t stage_ = 0;  // the first step behind the last barrier
};

// Two dispatches, as indices into a record, that no barrier keeps apart though one writes what the
// other touches.
struct Hazard {
  size_t first, second;
};

// The first hazard, found by comparing every pair: the proof that a record is right.
std::optional<Hazard> find_hazard(std::span<const Step> steps);

}  // namespace quern::kernels::vulkan
