// The recurrent operations on the CPU. A matrix of a state is worked on in strips of columns that
// stay in the first cache while the rows of a sequence go by: heads and strips are independent.
#pragma once

#include <cstddef>

#include "kernels/op.h"

namespace quern::kernels::cpu {

inline constexpr size_t kStripColumns = 32;
inline constexpr uint32_t kMaxTaps = 16;  // of a CausalConv

// Per thread, in bytes.
size_t recurrent_scratch_bytes(const Program& program);

}  // namespace quern::kernels::cpu
