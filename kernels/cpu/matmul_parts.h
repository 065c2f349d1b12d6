// What matmul_tile does for quantized formats: integer kernels, with scratch of
// quantized_scratch_bytes.
#pragma once

#include "kernels/cpu/matmul.h"

namespace quern::kernels::cpu {

void matmul_quantized(const MatMulTile& tile, std::byte* scratch);
size_t quantized_scratch_bytes();

}  // namespace quern::kernels::cpu
