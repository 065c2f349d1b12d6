// Packs the weights of a program at load (packed.h): one pass over the file, all threads.
#pragma once

#include <span>

#include "kernels/cpu/context.h"
#include "kernels/cpu/huge_pages.h"

namespace quern::kernels::cpu {

// Fills Weight::packed of all weights that can be packed; `packed`, if any, is told of it.
// Returns the memory that holds them. Errors: "out-of-memory", "cancelled".
Result<HugePages> pack_weights(const Program& program, std::span<Weight> weights, ThreadPool& pool,
                               const PackObserver& packed);

}  // namespace quern::kernels::cpu
