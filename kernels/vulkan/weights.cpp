#include "kernels/vulkan/weights.h"

#include <fmt/format.h>

#include <algorithm>

namespace quern::kernels::vulkan {
namespace {

constexpr uint64_t kUploadBytes = 64 << 20;  // between two looks at whether to go on

Arena plan(const Program& program, uint64_t max_allocation) {
  Arena arena(max_allocation);
  for (const WeightInfo& weight : program.weights) arena.add(weight.bytes());
  return arena;
}

// Names how far the device's memory reaches, so that the user can choose --gpu-layers.
Error too_large(Error error, uint64_t needed, const Device& device) {
  constexpr double kGiB = 1 << 30;
  error.message = fmt::format(
      "{} needs {:.2f} GiB for the weights, and {:.2f} GiB are free; put fewer layers on it",
      escape(device.caps().name), static_cast<double>(needed) / kGiB,
      static_cast<double>(device.free_bytes()) / kGiB);
  return error;
}

}  // namespace

uint64_t Weights::bytes(const Program& program, uint64_t max_allocation) {
  return plan(program, max_allocation).bytes();
}

uint64_t Weights::largest(const Program& program) { return plan(program, UINT64_MAX).largest(); }

Result<Weights> Weights::upload(Device& device, const Program& program,
                                std::span<const gguf::TensorView> tensors,
                                const PackObserver& uploaded) {
  Weights weights(plan(program, device.caps().max_allocation));
  Arena& arena = weights.arena_;
  if (Status status = arena.allocate(device, Memory::kDevice); !status) {
    if (status.error().code != "device-memory") return tl::unexpected(status.error());
    return tl::unexpected(too_large(std::move(status.error()), arena.bytes(), device));
  }
  for (WeightId id = 0; id < tensors.size(); ++id) {
    const std::span<const std::byte> bytes = tensors[id].bytes;
    for (uint64_t at = 0; at < bytes.size(); at += kUploadBytes) {
      const uint64_t count = std::min(bytes.size() - at, kUploadBytes);
      QUERN_CHECK(arena.buffer(id).upload(arena.offset(id) + at, bytes.subspan(at, count)));
      if (uploaded && !uploaded(id, at + count)) {
        return fail(ErrorKind::kCancelled, "cancelled", "stopped");
      }
    }
  }
  return weights;
}

}  // namespace quern::kernels::vulkan
