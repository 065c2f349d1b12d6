#include "kernels/vulkan/stopwatch.h"

namespace quern::kernels::vulkan {

Result<std::unique_ptr<Stopwatch>> Stopwatch::make(const Device& device, uint32_t points) {
  if (device.caps().timestamp_bits == 0) return nullptr;
  std::unique_ptr<Stopwatch> stopwatch(new Stopwatch(device));
  VkQueryPoolCreateInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO;
  info.queryType = VK_QUERY_TYPE_TIMESTAMP;
  info.queryCount = points;
  QUERN_CHECK(
      check(device.api().vkCreateQueryPool(device.handle(), &info, nullptr, &stopwatch->pool_),
            "make a stopwatch"));
  return stopwatch;
}

Stopwatch::~Stopwatch() { device_.api().vkDestroyQueryPool(device_.handle(), pool_, nullptr); }

void Stopwatch::reset(VkCommandBuffer commands, uint32_t first, uint32_t end) const {
  device_.api().vkCmdResetQueryPool(commands, pool_, first, end - first);
}

void Stopwatch::mark(VkCommandBuffer commands, uint32_t point) const {
  device_.api().vkCmdWriteTimestamp(commands, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, pool_, point);
}

Status Stopwatch::add(uint32_t first, uint32_t last, std::span<double> seconds) const {
  std::vector<uint64_t> ticks(last - first + 1);
  QUERN_CHECK(check(device_.api().vkGetQueryPoolResults(
                        device_.handle(), pool_, first, static_cast<uint32_t>(ticks.size()),
                        ticks.size() * sizeof(uint64_t), ticks.data(), sizeof(uint64_t),
                        VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WAIT_BIT),
                    "read its clock"));
  // The clock has so many bits, and goes on from 0.
  const uint32_t bits = device_.caps().timestamp_bits;
  const uint64_t mask = bits < 64 ? (uint64_t{1} << bits) - 1 : UINT64_MAX;
  const double period = 1e-9 * double{device_.caps().timestamp_period};
  for (uint32_t i = 0; i + 1 < ticks.size(); ++i) {
    seconds[first + i] += period * static_cast<double>((ticks[i + 1] - ticks[i]) & mask);
  }
  return {};
}

}  // namespace quern::kernels::vulkan
