#include "kernels/vulkan/recorder.h"

#include <algorithm>

namespace quern::kernels::vulkan {
namespace {

bool any_overlap(std::span<const Range> a, std::span<const Range> b) {
  return std::ranges::any_of(a, [&](const Range& x) {
    return std::ranges::any_of(b, [&](const Range& y) { return x.overlaps(y); });
  });
}

bool conflict(const Access& a, const Access& b) {
  return any_overlap(a.writes, b.writes) || any_overlap(a.writes, b.reads) ||
         any_overlap(a.reads, b.writes);
}

}  // namespace

void Recorder::make_room(const Access& access) {
  const auto stage = std::span(steps_).subspan(stage_);
  if (std::ranges::none_of(stage, [&](const Step& s) { return conflict(s.access, access); })) {
    return;
  }
  constexpr VkPipelineStageFlags kStages =
      VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;
  constexpr VkAccessFlags kWrites = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT;
  constexpr VkAccessFlags kReads = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_TRANSFER_READ_BIT;
  const VkMemoryBarrier barrier = {VK_STRUCTURE_TYPE_MEMORY_BARRIER, nullptr, kWrites,
                                   kReads | kWrites};
  device_.api().vkCmdPipelineBarrier(commands_, kStages, kStages, 0, 1, &barrier, 0, nullptr, 0,
                                     nullptr);
  steps_.push_back({.barrier = true, .kernel = {}, .access = {}});
  stage_ = steps_.size();
}

void Recorder::copy(const Place& from, const Place& to, uint64_t bytes) {
  Access access = {{from.range(bytes)}, {to.range(bytes)}};
  make_room(access);
  const VkBufferCopy region = {from.offset, to.offset, bytes};
  device_.api().vkCmdCopyBuffer(commands_, from.buffer.handle(), to.buffer.handle(), 1, &region);
  steps_.push_back({false, "copy", std::move(access)});
}

void Recorder::continue_in(VkCommandBuffer commands) {
  commands_ = commands;
  steps_.push_back({.barrier = true, .kernel = {}, .access = {}});
  stage_ = steps_.size();
}

std::optional<Hazard> find_hazard(std::span<const Step> steps) {
  size_t stage = 0;
  for (size_t i = 0; i < steps.size(); ++i) {
    if (steps[i].barrier) stage = i + 1;
    for (size_t j = stage; j < i; ++j) {
      if (conflict(steps[j].access, steps[i].access)) return Hazard{j, i};
    }
  }
  return std::nullopt;
}

}  // namespace quern::kernels::vulkan
