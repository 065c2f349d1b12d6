#include "kernels/cpu/pack_weights.h"

#include <algorithm>

#include "kernels/cpu/format_kernels.h"
#include "kernels/cpu/matmul.h"
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

// The weight that is read in turns with this one, tile by tile, and comes second; or kAbsent.
WeightId companion(const Program& program, WeightId weight) {
  for (const Op& op : program.ops) {
    const auto* projection = std::get_if<Projection>(&op);
    if (projection && projection->gated() && projection->outputs[0].weight == weight) {
      return projection->outputs[1].weight;
    }
    const auto* experts = std::get_if<Experts>(&op);
    if (experts && experts->gate == weight && experts->up != weight) return experts->up;
  }
  return kAbsent;
}

// Mapped bytes that are packed before they are given back.
constexpr size_t kSliceBytes = size_t{8} << 20;

// Bytes of kRowTile rows.
size_t tile_bytes(const gguf::TensorView& tensor) {
  return kRowTile / kPanelRows * packed_tile_bytes(tensor.format, tensor.row_values());
}

// Gives weights their places in `memory`.
class Placer {
 public:
  Placer(const Program& program, std::span<Weight> weights, std::byte* memory)
      : program_(program), weights_(weights), next_(memory) {}

  void place(WeightId id) {
    Weight& weight = weights_[id];
    const uint64_t bytes = cpu_packed_bytes(program_, id);
    if (bytes == 0 || weight.packed.data) return;
    const size_t matrices = weight.tensor.rows() / weight.tensor.shape[1];
    weight.packed = {next_, tile_bytes(weight.tensor), bytes / matrices};
    next_ += bytes;
    const WeightId second = companion(program_, id);
    const uint64_t more = second == kAbsent ? 0 : cpu_packed_bytes(program_, second);
    if (more > 0 && alternate(weight, weights_[second])) next_ += more;
  }

 private:
  // Places `second` between the tiles of `first`, so that both are one ascending stream.
  static bool alternate(Weight& first, Weight& second) {
    const size_t rows = first.tensor.shape[1];
    const bool whole = rows == second.tensor.shape[1] && rows % kRowTile == 0;
    if (!whole || second.packed.data || second.tensor.rows() != first.tensor.rows()) return false;
    const size_t bytes = tile_bytes(second.tensor);
    second.packed.data = first.packed.data + first.packed.tile_bytes;
    first.packed.tile_bytes += bytes;
    first.packed.matrix_bytes += rows / kRowTile * bytes;
    second.packed.tile_bytes = first.packed.tile_bytes;
    second.packed.matrix_bytes = first.packed.matrix_bytes;
    return true;
  }

  const Program& program_;
  std::span<Weight> weights_;
  std::byte* next_;
};

// Packs a weight a slice at a time, so that little of it is in memory twice. packed(bytes): as a
// PackObserver.
template <class Packed>
bool pack(const Weight& weight, ThreadPool& pool, const Packed& packed) {
  const gguf::TensorView& tensor = weight.tensor;
  const FormatKernels kernels = format_kernels(tensor.format);
  const size_t row_bytes = tensor.row_bytes(), rows = tensor.shape[1];
  const size_t panels = (rows + kPanelRows - 1) / kPanelRows;
  const size_t total = tensor.rows() / rows * panels;
  constexpr size_t kPanels = kRowTile / kPanelRows;
  const auto first_row = [&](size_t item) {
    return item / panels * rows + item % panels * kPanelRows;
  };
  const size_t slice = std::max<size_t>(kSliceBytes / (kPanelRows * row_bytes), 1);
  for (size_t begin = 0, end; begin < total; begin = end) {
    end = std::min(begin + slice, total);
    pool.run(end - begin, [&](size_t i, size_t) {
      const size_t item = begin + i, matrix = item / panels, panel = item % panels;
      kernels.pack(tensor.bytes.data() + first_row(item) * row_bytes,
                   std::min(kPanelRows, rows - panel * kPanelRows), row_bytes,
                   weight.packed.data + matrix * weight.packed.matrix_bytes +
                       panel / kPanels * weight.packed.tile_bytes +
                       panel % kPanels * packed_tile_bytes(tensor.format, tensor.row_values()));
    });
    if (!packed(first_row(end) * row_bytes)) return false;
  }
  return true;
}

}  // namespace

Result<HugePages> pack_weights(const Program& program, std::span<Weight> weights, ThreadPool& pool,
                               const PackObserver& packed) {
  uint64_t total = 0;
  for (WeightId id = 0; id < weights.size(); ++id) total += cpu_packed_bytes(program, id);
  QUERN_TRY(HugePages memory, HugePages::allocate(total));
  Placer placer(program, weights, memory.data());
  for (WeightId id = 0; id < weights.size(); ++id) placer.place(id);
  for (WeightId id = 0; id < weights.size(); ++id) {
    const auto tell = [&](size_t bytes) { return !packed || packed(id, bytes); };
    if (weights[id].packed.data && !pack(weights[id], pool, tell)) {
      return fail(ErrorKind::kCancelled, "cancelled", "stopped");
    }
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
