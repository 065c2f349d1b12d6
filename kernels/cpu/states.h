// The recurrent states of a cache: slots, each with the state of every recurrent operation.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/cpu/aligned_buffer.h"
#include "kernels/op.h"

namespace quern::kernels::cpu {

class States {
 public:
  // Errors: "out-of-memory".
  static Result<States> allocate(const Program& program, uint32_t slots) {
    States states;
    for (const uint32_t floats : program.states) {
      states.offsets_.push_back(states.slot_floats_);
      states.slot_floats_ += floats;
    }
    QUERN_TRY(states.memory_, AlignedBuffer::allocate(states.slot_floats_ * sizeof(float), slots));
    return states;
  }

  uint64_t bytes() const { return memory_.size(); }
  // Of recurrent operation `state` in a slot; how it is laid out is the operation's business.
  float* at(uint32_t slot, uint32_t state) const {
    return reinterpret_cast<float*>(memory_.data()) + slot * slot_floats_ + offsets_[state];
  }

 private:
  size_t slot_floats_ = 0;
  std::vector<size_t> offsets_;  // per state, in floats from the start of a slot
  AlignedBuffer memory_;
};

}  // namespace quern::kernels::cpu
