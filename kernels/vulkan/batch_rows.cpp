#include "kernels/vulkan/batch_rows.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "shaders/shared.h"

namespace quern::kernels::vulkan {
namespace {

using shaders::BatchRow;
using shaders::StateRun;

uint32_t round_up(uint32_t value, uint32_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace

uint32_t round_rows(uint32_t rows, uint32_t most) {
  const uint32_t rounded = rows <= 8 ? rows : round_up(rows, rows <= 64 ? 16 : 64);
  return std::min(rounded, most);
}

Shape shape_of(const Program& program, const Batch& batch, const MaxBatch& max) {
  const uint32_t length = std::ranges::max(batch.positions) + 1;
  const auto logits = static_cast<uint32_t>(batch.logit_rows.size());
  return {
      .part = static_cast<uint32_t>(batch.part),
      .rows = round_rows(static_cast<uint32_t>(batch.tokens.size()), max.rows),
      .logit_rows = logits ? round_rows(logits, max.logit_rows) : 0,
      .positions = std::bit_ceil(std::max(length, kBlockPositions)),
      .runs = program.states.empty()
                  ? 0
                  : std::min(std::bit_ceil(static_cast<uint32_t>(batch.states.size())), max.rows)};
}

BatchRows::BatchRows(const Program& program, const MaxBatch& max, uint64_t max_allocation)
    : ropes_(program.ropes),
      groups_(static_cast<uint32_t>(program.windows.size())),
      table_stride_(round_up(max.positions, kBlockPositions) / kBlockPositions),
      group_words_(uint64_t{max.rows} * table_stride_),  // each row may be of another sequence
      arena_(max_allocation) {
  arena_.add(max.rows * sizeof(BatchRow));
  arena_.add(groups_ * group_words_ * 4);
  arena_.add(uint64_t{max.logit_rows} * 4);
  arena_.add(program.states.empty() ? 0 : max.rows * sizeof(StateRun));
  for (const Rope& rope : ropes_) arena_.add(rope.frequencies.size() * max.rows * 8);
}

uint64_t BatchRows::bytes(const Program& program, const MaxBatch& max, uint64_t max_allocation) {
  return BatchRows(program, max, max_allocation).arena_.bytes();
}

Result<BatchRows> BatchRows::make(Device& device, const Program& program, const MaxBatch& max) {
  BatchRows rows(program, max, device.caps().max_allocation);
  QUERN_CHECK(rows.arena_.allocate(device, Memory::kUpload));
  return rows;
}

template <typename T>
std::span<T> BatchRows::part(size_t index) {
  std::byte* start = arena_.buffer(index).mapped() + arena_.offset(index);
  return {reinterpret_cast<T*>(start), arena_.range(index).bytes / sizeof(T)};
}

void BatchRows::write(const Batch& batch, const Shape& shape) {
  const std::span<BatchRow> rows = part<BatchRow>(kRows);
  for (uint32_t i = 0; i < shape.rows; ++i) {
    rows[i] = i < batch.tokens.size()
                  ? BatchRow{static_cast<uint32_t>(batch.tokens[i]), batch.positions[i],
                             batch.sequences[i] * table_stride_}
                  : BatchRow{0, 0, shaders::kPadding};
  }
  // Rows of logits beyond those wanted are copies of row 0, which nobody reads.
  const std::span<uint32_t> logit_rows = part<uint32_t>(kLogitRows);
  std::ranges::fill(logit_rows.first(shape.logit_rows), 0);
  std::ranges::copy(batch.logit_rows, logit_rows.begin());
  const std::span<uint32_t> tables = part<uint32_t>(kTables);
  for (size_t i = 0; i < batch.block_tables.size(); ++i) {
    const std::span<const uint32_t> blocks = batch.block_tables[i];
    const size_t count = std::min<size_t>(blocks.size(), table_stride_);
    const size_t start = i % groups_ * group_words_ + i / groups_ * table_stride_;
    std::ranges::copy(blocks.first(count), tables.subspan(start).begin());
  }
  write_turns(batch);
  write_runs(batch, shape.runs);
}

void BatchRows::write_runs(const Batch& batch, uint32_t count) {
  const std::span<StateRun> runs = part<StateRun>(kRuns).first(count);
  std::ranges::fill(runs, StateRun{});
  for (size_t begin = 0, end; count > 0 && begin < batch.tokens.size(); begin = end) {
    end = batch.sequence_end(begin);
    const StateSlots& slots = batch.states[batch.sequences[begin]];
    static_assert(kAbsent == shaders::kPadding);
    runs[batch.sequences[begin]] = {static_cast<uint32_t>(begin), static_cast<uint32_t>(end),
                                    slots.from, slots.to};
  }
}

void BatchRows::write_turns(const Batch& batch) {
  for (uint32_t r = 0; r < ropes_.size(); ++r) {
    float* out = part<float>(kFirstTurns + r).data();
    for (const uint32_t position : batch.positions) {
      for (const double frequency : ropes_[r].frequencies) {
        const double angle = position * frequency;
        *out++ = static_cast<float>(std::cos(angle) * ropes_[r].magnitude);
        *out++ = static_cast<float>(std::sin(angle) * ropes_[r].magnitude);
      }
    }
  }
}

}  // namespace quern::kernels::vulkan
