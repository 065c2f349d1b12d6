// Which experts a token goes to, by the formulas of op.h's Routing.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/op.h"

namespace quern::kernels::cpu::reference {

struct Choice {
  std::vector<uint32_t> experts;  // by rank
  std::vector<double> shares;     // of their outputs
};

// `used` experts by their logits; selection_bias is empty or has one value for each expert.
Choice choose(const Routing& routing, const std::vector<float>& logits,
              const std::vector<float>& selection_bias, uint32_t used);

}  // namespace quern::kernels::cpu::reference
