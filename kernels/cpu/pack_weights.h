// Packs the weights of a program (packed.h), tile by tile, all threads.
#pragma once

#include <span>
#include <vector>

#include "kernels/cpu/context.h"
#include "kernels/cpu/huge_pages.h"

namespace quern::kernels::cpu {

class WeightPacker {
 public:
  WeightPacker() = default;  // has nothing to pack

  // Gives the weights that can be packed their places. Error: "out-of-memory".
  static Result<WeightPacker> make(const Program& program, std::span<Weight> weights);

  // As Executable::pack.
  Result<uint64_t> pack(uint64_t bytes, ThreadPool& pool, const PackObserver& packed);

 private:
  // The next `bytes` of a weight. Returns whether to go on.
  bool advance(WeightId id, uint64_t bytes, ThreadPool& pool, const PackObserver& packed);

  HugePages memory_;
  std::span<Weight> weights_;
  std::vector<WeightId> between_;  // per weight: the one that lies between its tiles, or kAbsent
  WeightId next_ = 0;              // the weights before it are packed
  uint64_t left_ = 0;              // mapped bytes that are not
};

}  // namespace quern::kernels::cpu
