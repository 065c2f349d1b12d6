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
constexpr uint64_t kSliceBytes = 2 << 20;

// Bytes of kRowTile rows.
size_t tile_bytes(const gguf::TensorView& tensor) {
  return kRowTile / kPanelRows * packed_tile_bytes(tensor.format, tensor.row_values());
}

// Gives weights their places in `memory`.
class Placer {
 public:
  Placer(const Program& program, std::span<Weight> weights, std::byte* memory)
      : program_(program), weights_(weights), next_(memory) {}

  // Returns the weight whose tiles lie between those of this one, or kAbsent.
  WeightId place(WeightId id) {
    Weight& weight = weights_[id];
    const uint64_t bytes = cpu_packed_bytes(program_, id);
    if (bytes == 0 || weight.packed.data) return kAbsent;
    const size_t matrices = weight.tensor.rows() / weight.tensor.shape[1];
    weight.packed = {next_, tile_bytes(weight.tensor), bytes / matrices};
    next_ += bytes;
    const WeightId second = companion(program_, id);
    const uint64_t more = second == kAbsent ? 0 : cpu_packed_bytes(program_, second);
    if (more == 0 || !alternate(weight, weights_[second])) return kAbsent;
    next_ += more;
    return second;
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

// Tiles of all matrices of a weight.
size_t tiles_of(const gguf::TensorView& tensor) {
  return tensor.rows() / tensor.shape[1] * row_tiles(tensor.shape[1]);
}

// Mapped bytes of the first `tiles` tiles.
uint64_t bytes_before(const gguf::TensorView& tensor, size_t tiles) {
  const size_t rows = tensor.shape[1], each = row_tiles(rows);
  return (tiles / each * rows + tiles % each * kRowTile) * tensor.row_bytes();
}

void pack_tile(const Weight& weight, size_t tile) {
  const gguf::TensorView& tensor = weight.tensor;
  const size_t each = row_tiles(tensor.shape[1]), row_bytes = tensor.row_bytes();
  const size_t first = tile % each * kRowTile;
  const std::byte* from = tensor.bytes.data() + bytes_before(tensor, tile);
  std::byte* to = weight.packed.data + tile / each * weight.packed.matrix_bytes +
                  tile % each * weight.packed.tile_bytes;
  const size_t rows = std::min(kRowTile, tensor.shape[1] - first);
  for (size_t row = 0; row < rows; row += kPanelRows) {
    format_kernels(tensor.format)
        .pack(from + row * row_bytes, std::min(kPanelRows, rows - row), row_bytes, to);
    to += packed_tile_bytes(tensor.format, tensor.row_values());
  }
}

// Packs the next `bytes` of a weight, or a tile, if that is more.
void pack_slice(Weight& weight, uint64_t bytes, ThreadPool& pool) {
  const size_t begin = weight.packed.tiles, all = tiles_of(weight.tensor);
  const size_t slice = std::max<size_t>(bytes / (kRowTile * weight.tensor.row_bytes()), 1);
  const size_t end = std::min(begin + slice, all);
  pool.run(end - begin, [&](size_t i, size_t) { pack_tile(weight, begin + i); });
  weight.packed.tiles = end;
}

}  // namespace

Result<WeightPacker> WeightPacker::make(const Program& program, std::span<Weight> weights) {
  WeightPacker packer;
  uint64_t total = 0;
  for (WeightId id = 0; id < weights.size(); ++id) {
    const uint64_t bytes = cpu_packed_bytes(program, id);
    total += bytes;
    if (bytes > 0) packer.left_ += weights[id].tensor.bytes.size();
  }
  QUERN_TRY(packer.memory_, HugePages::allocate(total));
  packer.weights_ = weights;
  Placer placer(program, weights, packer.memory_.data());
  for (WeightId id = 0; id < weights.size(); ++id) packer.between_.push_back(placer.place(id));
  return packer;
}

Result<uint64_t> WeightPacker::pack(uint64_t bytes, ThreadPool& pool, const PackObserver& packed) {
  const uint64_t goal = left_ - std::min(left_, bytes);
  while (left_ > goal) {
    const Weight& weight = weights_[next_];
    if (!weight.packed.data || weight.packed.tiles == tiles_of(weight.tensor)) {
      ++next_;
      continue;
    }
    // Of two weights in turns half of each page would lie idle until the second one is packed.
    const WeightId second = between_[next_];
    const bool behind = second != kAbsent && weights_[second].packed.tiles < weight.packed.tiles;
    const WeightId id = behind ? second : next_;
    if (!advance(id, std::min(kSliceBytes, left_ - goal), pool, packed)) {
      return fail(ErrorKind::kCancelled, "cancelled", "stopped");
    }
  }
  return left_;
}

bool WeightPacker::advance(WeightId id, uint64_t bytes, ThreadPool& pool,
                           const PackObserver& packed) {
  Weight& weight = weights_[id];
  const uint64_t before = bytes_before(weight.tensor, weight.packed.tiles);
  pack_slice(weight, bytes, pool);
  const uint64_t done = bytes_before(weight.tensor, weight.packed.tiles);
  left_ -= done - before;
  return !packed || packed(id, done);
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
