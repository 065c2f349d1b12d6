// The rows of a step as shaders see them (shaders/shared.h): arrays in memory that the CPU writes
// before each run, at addresses that never change, so that recorded commands can be used again.
#pragma once

#include <compare>

#include "kernels/backend.h"
#include "kernels/vulkan/arena.h"

namespace quern::kernels::vulkan {

// Steps of one shape share recorded commands: figures are rounded up, and rows that are too many
// are padding.
struct Shape {
  uint32_t part;  // of the program
  uint32_t rows;
  uint32_t logit_rows;  // 0: none are wanted
  uint32_t positions;   // of the longest sequence: a power of two, at least kBlockPositions
  uint32_t runs = 0;    // sequences, rounded up, of a program with states
  TopRequest top = {};  // count 0: the whole output is wanted

  auto operator<=>(const Shape&) const = default;
};
Shape shape_of(const Program& program, const Batch& batch, const MaxBatch& max);

// How many rows are computed for a step of `rows` (at least 1), at most `most`: up to 8 exactly,
// then multiples of 16, and of 64 above 64.
uint32_t round_rows(uint32_t rows, uint32_t most);

class BatchRows {
 public:
  // That make() takes of a device that allocates so much at once.
  static uint64_t bytes(const Program& program, const MaxBatch& max, uint64_t max_allocation);
  static Result<BatchRows> make(Device& device, const Program& program, const MaxBatch& max);

  // No earlier run may still be under way.
  void write(const Batch& batch, const Shape& shape);

  uint64_t rows() const { return arena_.address(kRows); }  // shaders::BatchRow [rows]
  // Of a group of layers: uint32 [sequences][blocks].
  uint64_t tables(uint32_t group) const {
    return arena_.address(kTables) + group * group_words_ * 4;
  }
  uint64_t logit_rows() const { return arena_.address(kLogitRows); }
  uint64_t runs() const { return arena_.address(kRuns); }  // shaders::StateRun [sequences]
  // Of a rope: f32 [rows][pairs][cosine, sine], times its magnitude.
  uint64_t turns(uint32_t rope) const { return arena_.address(kFirstTurns + rope); }

 private:
  enum Part { kRows, kTables, kLogitRows, kRuns, kFirstTurns };

  BatchRows(const Program& program, const MaxBatch& max, uint64_t max_allocation);
  template <typename T>
  std::span<T> part(size_t index);
  void write_turns(const Batch& batch);
  void write_runs(const Batch& batch, uint32_t count);

  std::vector<Rope> ropes_;
  uint32_t groups_;        // of layers
  uint32_t table_stride_;  // blocks per sequence
  uint64_t group_words_;   // table entries of a group
  Arena arena_;
};

}  // namespace quern::kernels::vulkan
