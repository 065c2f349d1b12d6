#include "kernels/cpu/pack_weights.h"

#include <algorithm>

#include "kernels/cpu/format_kernels.h"
#include "kernels/cpu/packed.h"
#include "kernels/cpu_sizes.h"

namespace quern::kernels::cpu {
namespace {

// Whether some operation multiplies with the weight.
bool multiplies(const Op& op, WeightId weight) {
  if (const auto* projection = std::get_if<Projection>(&op)) {
    return std::ranges::any_of(projection->outputs,
                               [&](const Linear& linear) { return linear.weight == weight; });
  }
  const auto* experts = std::get_if<Experts>(&op);
  return experts && (weight == experts->router || weight == experts->gate ||
                     weight == experts->up || weight == experts->down);
}

void pack(const gguf::TensorView& tensor, ThreadPool& pool, std::byte* out) {
  const FormatKernels kernels = format_kernels(tensor.format);
  const size_t row_bytes = tensor.row_bytes(), rows = tensor.shape[1];
  const size_t tiles = (rows + kPanelRows - 1) / kPanelRows;
  const size_t matrices = tensor.rows() / rows;
  pool.run(matrices * tiles, [&](size_t item, size_t) {
    const size_t row = item % tiles * kPanelRows;
    kernels.pack(tensor.bytes.data() + (item / tiles * rows + row) * row_bytes,
                 std::min(kPanelRows, rows - row), row_bytes,
                 out + item * packed_tile_bytes(tensor.format, tensor.row_values()));
  });
}

}  // namespace

Result<HugePages> pack_weights(const Program& program, std::span<Weight> weights, ThreadPool& pool,
                               const PackObserver& packed) {
  uint64_t total = 0;
  for (WeightId id = 0; id < weights.size(); ++id) total += cpu_packed_bytes(program, id);
  QUERN_TRY(HugePages memory, HugePages::allocate(total));
  std::byte* next = memory.data();
  for (WeightId id = 0; id < weights.size(); ++id) {
    const uint64_t bytes = cpu_packed_bytes(program, id);
    if (bytes == 0) continue;
    pack(weights[id].tensor, pool, next);
    weights[id].packed = next;
    next += bytes;
    if (packed && !packed(id)) return fail(ErrorKind::kCancelled, "cancelled", "stopped");
  }
  return memory;
}

}  // namespace quern::kernels::cpu

namespace quern::kernels {

uint64_t cpu_packed_bytes(const Program& program, WeightId weight) {
  const WeightInfo& info = program.weights[weight];
  if (!cpu::format_kernels(info.format).pack) return 0;
  const auto uses = [&](const Op& op) { return cpu::multiplies(op, weight); };
  if (std::ranges::none_of(program.ops, uses)) return 0;
  return cpu::packed_bytes(info.format, info.out(), info.in()) * info.shape[2] * info.shape[3];
}

}  // namespace quern::kernels
