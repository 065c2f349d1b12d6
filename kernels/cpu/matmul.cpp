#include "kernels/cpu/matmul.h"

#include <algorithm>

#include "kernels/cpu/matmul_parts.h"
#include "kernels/cpu/reference.h"

namespace quern::kernels::cpu {
namespace {

// Float formats on a machine without SIMD.
void multiply_floats(const MatMulTile& tile) {
  for (size_t t = 0; t < tile.tokens; ++t) {
    for (size_t r = 0; r < tile.rows; ++r) {
      tile.out[t * kRowTile + r] =
          reference::dot_float(tile.format, tile.weights + r * tile.row_bytes,
                               tile.floats + t * tile.values, tile.values);
    }
  }
}

}  // namespace

void matmul_tile(const MatMulTile& tile, std::byte* scratch) {
  if (!gguf::info(tile.format).is_float()) return matmul_quantized(tile, scratch);
  const FormatKernels kernels = format_kernels(tile.format);
  kernels.multiply ? kernels.multiply(tile, scratch) : multiply_floats(tile);
}

size_t matmul_scratch_bytes() { return std::max(kFloatScratchBytes, quantized_scratch_bytes()); }

}  // namespace quern::kernels::cpu
