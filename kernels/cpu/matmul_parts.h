// The two halves of matmul_tile: integer kernels for the quantized formats (with scratch, see
// matmul_scratch_bytes) and kernels for the float formats.
#pragma once

#include "kernels/cpu/matmul.h"

namespace quern::kernels::cpu {

void matmul_quantized(const MatMulTile& tile, std::byte* scratch);
void matmul_float(const MatMulTile& tile);

}  // namespace quern::kernels::cpu
