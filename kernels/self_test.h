// Self-test: whether a device computes right what Quern asks of it. A driver's compiler can be
// wrong where ours was tested and found right.
#pragma once

#include <functional>
#include <vector>

#include "kernels/conformance.h"

namespace quern::kernels {

// Every decoder as check_device() does it, then a small model with each type of cache, dense and
// with experts, against the scalar reference: many rows, then one. Takes seconds on a GPU.
// `progress` is told what share is done, 0 to 1.
std::vector<Finding> self_test(Backend& device, const std::function<void(double)>& progress = {});

}  // namespace quern::kernels
