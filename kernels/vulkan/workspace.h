// Where every intermediate result of a program lies on the device: computed from the program alone,
// so that the memory plan and the executable cannot disagree.
#pragma once

#include <vector>

#include "kernels/backend.h"
#include "kernels/vulkan/arena.h"
#include "kernels/vulkan/experts.h"

namespace quern::kernels::vulkan {

class Workspace {
 public:
  // `upload` and `readback`: what the CPU writes and reads; `largest`: see Arena.
  struct Bytes {
    uint64_t device, upload, readback, largest;
  };
  static Bytes bytes(const Program& program, const MaxBatch& max, uint64_t max_allocation);
  static Result<Workspace> make(Device& device, const Program& program, const MaxBatch& max);

  // f32 [rows][width].
  Range value(ValueId id) const { return arena_.range(id); }
  Place place(ValueId id) const { return arena_.place(id); }
  uint64_t address(ValueId id) const { return value(id).address; }
  uint64_t address_or_null(ValueId id) const { return id == kAbsent ? 0 : address(id); }

  // f32 [rows][widest unit]: the gate of a unit whose matrices are multiplied one after the other.
  Range gate() const { return arena_.range(gate_); }
  // f32 [rows][widest input]: the input of a projection after a layer norm.
  Range normed() const { return arena_.range(normed_); }
  Range experts(ExpertPart part) const { return arena_.range(experts_ + part); }
  // ExpertTile [rows][heads], of products with a matrix for each head.
  Range head_tiles() const { return arena_.range(head_tiles_); }
  // Of split attention (attention.h); the counters are 0 between dispatches.
  Range partials() const { return arena_.range(partials_); }
  Range counters() const { return arena_.range(counters_); }

  // Memory that the CPU sees, for the input and the output of a part of the program.
  Place input_place() const { return upload_.place(0); }
  Place output_place() const { return readback_.place(0); }
  std::span<float> input();
  std::span<const float> output() const;

 private:
  Workspace(const Program& program, const MaxBatch& max, uint64_t max_allocation);

  size_t gate_, normed_, experts_, head_tiles_, partials_, counters_;
  Arena arena_;     // ranges by ValueId, then the others
  Arena upload_;    // the widest input of a part
  Arena readback_;  // the widest output, or the best logits
};

}  // namespace quern::kernels::vulkan
