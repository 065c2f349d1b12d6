// Which experts a token goes to (see Routing in op.h).
#pragma once

#include <cstdint>
#include <span>

#include "kernels/op.h"

namespace quern::kernels::cpu {

// From the router's logits of one row, [experts], which are overwritten: the best chosen.size()
// experts, best first, and their shares. selection_bias: [experts] or null. NaN has no order: it
// ranks last, and stays visible in the shares if it is chosen all the same.
void choose_experts(std::span<float> logits, const Routing& routing, const float* selection_bias,
                    std::span<uint32_t> chosen, float* shares);

}  // namespace quern::kernels::cpu
